import MartletServer
import NIOCore
import Proto
import RPC
import Testing

/// A user of a member: calls with the user's token.
struct TestUser {
  let member: TestMember
  let options: CallOptions

  init(_ member: TestMember, _ name: String, _ password: String) async throws {
    let answer = try await AuthClient(member.client).authenticate(
      .init(name: name, password: password)
    )
    self.init(member, token: answer.token)
  }

  init(_ member: TestMember, token: String, header: String = "token") {
    self.member = member
    var options = CallOptions()
    options.metadata = [(header, token)]
    self.options = options
  }

  func put(_ key: String, _ value: String, prevKV: Bool = false, lease: Int64 = 0) async throws {
    var request = Etcdserverpb.PutRequest(key, value)
    request.prevKV = prevKV
    request.lease = lease
    _ = try await member.kv.put(request, options: options)
  }

  func get(_ key: String, _ end: String = "") async throws -> [String] {
    try await member.kv.range(.init(key, end), options: options).kvs.map(\.text)
  }
}

/// Turns authentication on: root with password `root`, and `alice` with `alice`, who may read and
/// write `a` to `b`, and read `r`.
func withAuth(
  _ change: (inout ServerConfiguration) -> Void = { _ in },
  _ body: (TestMember, _ root: TestUser, _ alice: TestUser) async throws -> Void
) async throws {
  try await withMember {
    $0.bcryptCost = 4
    change(&$0)
  } _: { member in
    try await enableAuth(member)
    let root = try await TestUser(member, "root", "root")
    try await body(member, root, try await TestUser(member, "alice", "alice"))
  }
}

func enableAuth(_ member: TestMember) async throws {
  let auth = AuthClient(member.client)
  _ = try await auth.userAdd(.init(name: "root", password: "root"))
  _ = try await auth.userGrantRole(.init(user: "root", role: "root"))
  _ = try await auth.userAdd(.init(name: "alice", password: "alice"))
  _ = try await auth.roleAdd(.init(name: "a"))
  for permission in [
    Authpb.Permission(permType: .readwrite, key: Array("a".utf8), rangeEnd: Array("b".utf8)),
    Authpb.Permission(permType: .read, key: Array("r".utf8)),
  ] {
    _ = try await auth.roleGrantPermission(.init(name: "a", perm: permission))
  }
  _ = try await auth.userGrantRole(.init(user: "alice", role: "a"))
  _ = try await auth.authEnable(.init())
}

private let denied = "etcdserver: permission denied"
private let empty = "etcdserver: user name is empty"
private let badToken = "etcdserver: invalid auth token"

@Suite("A member with authentication")
struct MemberAuthTests {
  @Test("keys: each operation needs its right, nested, with prev_kv, and over a whole range")
  func keys() async throws {
    try await withAuth { member, root, alice in
      try await root.put("s", "secret")
      try await root.put("r", "readable")
      try await alice.put("a", "1")
      #expect(try await alice.get("a", "b") == ["a=1"])
      #expect(try await alice.get("r") == ["r=readable"])
      await expectFailure(.permissionDenied, denied) { _ = try await alice.get("s") }
      await expectFailure(.permissionDenied, denied) { _ = try await alice.get("a", "c") }
      await expectFailure(.permissionDenied, denied) { _ = try await alice.get("a", "\0") }
      await expectFailure(.permissionDenied, denied) { try await alice.put("r", "2") }
      await expectFailure(.permissionDenied, denied) {
        var delete = Etcdserverpb.DeleteRangeRequest()
        (delete.key, delete.rangeEnd) = ([0], [0])
        _ = try await member.kv.deleteRange(delete, options: alice.options)
      }
      await expectFailure(.permissionDenied, denied) {
        let stream = try await member.kv.rangeStream(.init("a", "z"), options: alice.options)
        for try await _ in stream {}
      }
      #expect(try await root.get("\0", "\0").count == 3)
    }
  }

  @Test("a txn may do nothing that one of its parts may not, in neither branch, however deep")
  func txns() async throws {
    try await withAuth { member, root, alice in
      try await root.put("s", "secret")
      func run(_ operation: Etcdserverpb.RequestOp.Request, depth: Int, failure: Bool) async throws
      {
        var inner = Etcdserverpb.RequestOp(request: operation)
        for level in 0..<depth {
          var txn = Etcdserverpb.TxnRequest()
          if failure && level == 0 { txn.failure = [inner] } else { txn.success = [inner] }
          inner = Etcdserverpb.RequestOp(request: .requestTxn(txn))
        }
        guard case .requestTxn(let txn)? = inner.request else { return }
        _ = try await member.kv.txn(txn, options: alice.options)
      }
      var prevKV = Etcdserverpb.DeleteRangeRequest(key: Array("s".utf8))
      prevKV.prevKV = true
      for depth in 1...3 {
        for failure in [false, true] {
          for operation: Etcdserverpb.RequestOp.Request in [
            .requestRange(.init("s")), .requestPut(.init("r", "x")), .requestDeleteRange(prevKV),
          ] {
            await expectFailure(.permissionDenied, denied) {
              try await run(operation, depth: depth, failure: failure)
            }
          }
          try await run(.requestRange(.init("r")), depth: depth, failure: failure)
          try await run(.requestPut(.init("a", "x")), depth: depth, failure: failure)
        }
      }
      await expectFailure(.permissionDenied, denied) {
        var compare = Etcdserverpb.Compare()
        compare.key = Array("s".utf8)
        _ = try await member.kv.txn(.init(compare: [compare]), options: alice.options)
      }
    }
  }

  @Test("leases: other people's keys on one keep it from being used, revoked and looked into")
  func leases() async throws {
    try await withAuth { member, root, alice in
      let client = LeaseClient(member.client)
      await expectFailure(.invalidArgument, empty) {
        _ = try await client.leaseGrant(.init(ttl: 60, id: 7))
      }
      _ = try await client.leaseGrant(.init(ttl: 60, id: 7), options: alice.options)
      try await alice.put("a", "1", lease: 7)
      try await root.put("s", "secret", lease: 7)
      await expectFailure(.permissionDenied, denied) { try await alice.put("a", "2", lease: 7) }
      await expectFailure(.permissionDenied, denied) {
        var put = Etcdserverpb.PutRequest("a", "2")
        put.lease = 7
        let txn = Etcdserverpb.TxnRequest(success: [.init(request: .requestPut(put))])
        _ = try await member.kv.txn(txn, options: alice.options)
      }
      await expectFailure(.permissionDenied, denied) {
        _ = try await client.leaseRevoke(.init(id: 7), options: alice.options)
      }
      await expectFailure(.permissionDenied, denied) {
        _ = try await client.leaseTimeToLive(.init(id: 7, keys: true), options: alice.options)
      }
      let times = try await client.leaseTimeToLive(.init(id: 7), options: alice.options)
      #expect(times.ttl > 0 && times.keys.isEmpty)
      _ = try await client.leaseRevoke(.init(id: 7), options: root.options)
      #expect(try await root.get("\0", "\0").isEmpty)
    }
  }

  @Test("every method of every service refuses who has no token, but for a few that need none")
  func everyMethodIsGuarded() async throws {
    try await withAuth { member, _, alice in
      let kv = member.kv
      let cluster = member.cluster
      let maintenance = member.maintenance
      let auth = AuthClient(member.client)
      let calls: [(String, (CallOptions) async throws -> Void, isForUsers: Bool)] = [
        ("range", { _ = try await kv.range(.init("a"), options: $0) }, true),
        ("put", { _ = try await kv.put(.init("a", "b"), options: $0) }, true),
        (
          "delete", { _ = try await kv.deleteRange(.init(key: Array("a".utf8)), options: $0) },
          true
        ),
        ("txn", { _ = try await kv.txn(.init(), options: $0) }, true),
        ("member list", { _ = try await cluster.memberList(.init(), options: $0) }, true),
        ("member add", { _ = try await cluster.memberAdd(.init(), options: $0) }, false),
        ("member remove", { _ = try await cluster.memberRemove(.init(), options: $0) }, false),
        ("status", { _ = try await maintenance.status(.init(), options: $0) }, true),
        ("alarms", { _ = try await maintenance.alarm(.init(), options: $0) }, true),
        (
          "raise", { _ = try await maintenance.alarm(.init(action: .activate), options: $0) },
          false
        ),
        (
          "disarm", { _ = try await maintenance.alarm(.init(action: .deactivate), options: $0) },
          false
        ),
        ("defragment", { _ = try await maintenance.defragment(.init(), options: $0) }, false),
        ("hash", { _ = try await maintenance.hash(.init(), options: $0) }, false),
        ("hash kv", { _ = try await maintenance.hashKV(.init(), options: $0) }, false),
        ("move leader", { _ = try await maintenance.moveLeader(.init(), options: $0) }, false),
        ("downgrade", { _ = try await maintenance.downgrade(.init(), options: $0) }, false),
        (
          "snapshot",
          { for try await _ in try await maintenance.snapshot(.init(), options: $0) {} },
          false
        ),
        ("user list", { _ = try await auth.userList(.init(), options: $0) }, false),
        ("role list", { _ = try await auth.roleList(.init(), options: $0) }, false),
        ("user add", { _ = try await auth.userAdd(.init(name: "x"), options: $0) }, false),
        ("role add", { _ = try await auth.roleAdd(.init(name: "x"), options: $0) }, false),
        ("disable", { _ = try await auth.authDisable(.init(), options: $0) }, false),
        (
          "own password",
          {
            _ = try await auth.userChangePassword(.init(name: "alice", password: "x"), options: $0)
          },
          false
        ),
      ]
      for (name, call, isForUsers) in calls {
        await expectFailure(.invalidArgument, empty) { try await call(CallOptions()) }
        let forged = TestUser(member, token: "aaaaaaaaaaaaaaaa.1")
        await expectFailure(.unauthenticated, badToken) { try await call(forged.options) }
        guard !isForUsers else {
          try await call(alice.options)
          continue
        }
        do {
          try await call(alice.options)
          Issue.record("\(name) is open to every user")
        } catch let error as RPCError {
          #expect(error.code == .permissionDenied, "\(name)")
        }
      }
      let status = try await auth.authStatus(.init())
      #expect(status.enabled && status.authRevision > 1)
    }
  }

  @Test("users may look at themselves and at their roles, root at all")
  func lookups() async throws {
    try await withAuth { member, root, alice in
      let auth = AuthClient(member.client)
      let own = try await auth.userGet(.init(name: "alice"), options: alice.options)
      #expect(own.roles == ["a"])
      let role = try await auth.roleGet(.init(role: "a"), options: alice.options)
      #expect(role.perm.count == 2)
      await expectFailure(.permissionDenied, denied) {
        _ = try await auth.userGet(.init(name: "root"), options: alice.options)
      }
      await expectFailure(.permissionDenied, denied) {
        _ = try await auth.roleGet(.init(role: "root"), options: alice.options)
      }
      let list = try await auth.userList(.init(), options: root.options)
      #expect(list.users == ["alice", "root"])
      await expectFailure(.failedPrecondition, "etcdserver: user name not found") {
        _ = try await auth.userGet(.init(name: "bob"), options: root.options)
      }
    }
  }

  @Test("tokens: in either header, with Bearer or without; void after a change of password")
  func tokens() async throws {
    try await withAuth { member, root, alice in
      let auth = AuthClient(member.client)
      let token = try #require(alice.options.metadata.first).value
      #expect(token.split(separator: ".").first?.count == 16)
      for user in [
        TestUser(member, token: token, header: "authorization"),
        TestUser(member, token: "Bearer \(token)", header: "authorization"),
        TestUser(member, token: "Bearer \(token)"),
      ] { try await user.put("a", "1") }
      for forged in ["", ".", "x", "\(token)0", String(repeating: "x", count: 4000)] {
        await expectFailure(.unauthenticated, badToken) {
          try await TestUser(member, token: forged).put("a", "1")
        }
      }
      await expectFailure(.invalidArgument) { _ = try await TestUser(member, "alice", "wrong") }
      await expectFailure(.invalidArgument) { _ = try await TestUser(member, "nobody", "x") }
      _ = try await auth.userChangePassword(
        .init(name: "alice", password: "other"),
        options: root.options
      )
      await expectFailure(.unauthenticated, badToken) { try await alice.put("a", "1") }
      try await TestUser(member, "alice", "other").put("a", "1")
      _ = try await auth.authDisable(.init(), options: root.options)
      // Off: nothing is asked, not even what the token is.
      try await TestUser(member, token: "x").put("z", "1")
      await expectFailure(.failedPrecondition, "etcdserver: authentication is not enabled") {
        _ = try await TestUser(member, "alice", "other")
      }
      _ = try await auth.authEnable(.init())
      await expectFailure(.unauthenticated, badToken) { _ = try await root.get("a") }
    }
  }

  @Test("a right that is taken away is gone at once, a role that is given counts at once")
  func changes() async throws {
    try await withAuth { member, root, alice in
      let auth = AuthClient(member.client)
      _ = try await auth.roleRevokePermission(
        .init(role: "a", key: Array("a".utf8), rangeEnd: Array("b".utf8)),
        options: root.options
      )
      await expectFailure(.permissionDenied, denied) { try await alice.put("a", "1") }
      await expectFailure(.permissionDenied, denied) { _ = try await alice.get("a") }
      _ = try await auth.userGrantRole(.init(user: "alice", role: "root"), options: root.options)
      try await alice.put("z", "1")
    }
  }

  @Test("users, roles and hashes are there after a restart; tokens are not; no clear passwords")
  func restart() async throws {
    let folder = try TemporaryFolder()
    var member = try await TestMember.start(in: folder) { $0.bcryptCost = 4 }
    try await enableAuth(member)
    let before = try await AuthClient(member.client).authStatus(.init())
    let first = try await TestUser(member, "alice", "alice")
    try await first.put("a", "1")
    let token = try #require(first.options.metadata.first).value
    await member.stop()
    member = try await TestMember.start(in: folder) { $0.bcryptCost = 4 }
    let after = try await AuthClient(member.client).authStatus(.init())
    #expect(after.enabled && after.authRevision == before.authRevision)
    await expectFailure(.unauthenticated, badToken) {
      _ = try await TestUser(member, token: token).get("a")
    }
    let alice = try await TestUser(member, "alice", "alice")
    #expect(try await alice.get("a") == ["a=1"])
    await expectFailure(.permissionDenied, denied) { _ = try await alice.get("s") }
    let auth = AuthClient(member.client)
    let root = try await TestUser(member, "root", "root")
    let secret = "correct-horse-battery"
    _ = try await auth.userAdd(.init(name: "bob", password: secret), options: root.options)
    await member.stop()
    let hasName = try folder.contains("bob")
    let hasPassword = try folder.contains(secret)
    #expect(hasName && !hasPassword)
  }

  @Test("a flood of log-ins is refused beyond a bound, and others are served meanwhile")
  func flood() async throws {
    try await withAuth {
      $0.bcryptCost = 9
    } _: { member, _, alice in
      let auth = AuthClient(member.client)
      let refusalsMin = 600 - 2 * 256
      // Neither hashing nor its queue is in the way of others.
      async let beside: Void = { for _ in 0..<20 { try await alice.put("a", "1") } }()
      let outcomes = await withTaskGroup(of: RPCCode?.self) { group in
        for _ in 0..<600 {
          group.addTask {
            do {
              _ = try await auth.authenticate(.init(name: "alice", password: "wrong"))
              return nil
            } catch {
              return (error as? RPCError)?.code
            }
          }
        }
        var codes: [RPCCode: Int] = [:]
        for await code in group {
          codes[code ?? .unknown, default: 0] += 1
          // Those that were taken would keep the hashing threads busy for long.
          if codes[.resourceExhausted] == refusalsMin { group.cancelAll() }
        }
        return codes
      }
      try await beside
      #expect(outcomes[.unknown] == nil, "nobody got in")
      #expect((outcomes[.resourceExhausted] ?? 0) >= refusalsMin, "\(outcomes)")
      let values = try await alice.get("a")
      #expect(values == ["a=1"])
    }
  }
}

import Auth
import Base
import MVCC
import Proto
import Replica
import Testing

/// What the log makes of users, roles and requests in their names (P8: the same on every member and
/// on replay).
struct AuthApplyTests {
  struct Entry {
    var operation: ReplicatedOperation
    var request: [UInt8]
    var proposer: Proposer?
    var isFromMember = false
  }

  static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  static func put(_ key: String) -> [UInt8] {
    Etcdserverpb.PutRequest(key: bytes(key), value: bytes("v")).encoded()
  }

  /// Users root and `u`, who may write `a`; authentication on.
  static let setUp: [Entry] = [
    Entry(
      operation: .authUserAdd,
      request: Etcdserverpb.AuthUserAddRequest(
        name: "root",
        hashedPassword: PasswordField.text(of: bytes("hash"))
      ).encoded()
    ),
    Entry(
      operation: .authUserGrantRole,
      request: Etcdserverpb.AuthUserGrantRoleRequest(user: "root", role: "root").encoded()
    ),
    Entry(
      operation: .authUserAdd,
      request: Etcdserverpb.AuthUserAddRequest(
        name: "u",
        options: .init(noPassword: true)
      ).encoded()
    ),
    Entry(
      operation: .authRoleAdd,
      request: Etcdserverpb.AuthRoleAddRequest(name: "r").encoded()
    ),
    Entry(
      operation: .authRoleGrantPermission,
      request: Etcdserverpb.AuthRoleGrantPermissionRequest(
        name: "r",
        perm: .init(permType: .write, key: bytes("a"))
      ).encoded()
    ),
    Entry(
      operation: .authUserGrantRole,
      request: Etcdserverpb.AuthUserGrantRoleRequest(user: "u", role: "r").encoded()
    ),
    Entry(operation: .authEnable, request: []),
  ]

  /// The auth revision after `setUp`.
  static let revision: UInt64 = 7

  /// Proposes entries, all in one batch or each by itself, and runs.
  static func apply(
    _ entries: [Entry],
    to member: DirectMember,
    epoch: UInt64 = DirectMember.epoch,
    inOneBatch: Bool = true
  ) {
    var batch = ProposalBatch(epoch: epoch)
    for (number, entry) in entries.enumerated() {
      let handle =
        entry.isFromMember ? RequestHandle.none : RequestHandle(loop: 0, call: UInt64(number))
      entry.request.withUnsafeBytes {
        batch.append(entry.operation, handle: handle, request: $0, proposer: entry.proposer)
      }
      guard !inOneBatch else { continue }
      member.machine.receive(proposals: batch.take())
      member.run()
    }
    if inOneBatch { member.machine.receive(proposals: batch.take()) }
    member.run()
  }

  static func member(_ entries: [Entry] = setUp) throws -> DirectMember {
    let member = try DirectMember()
    member.lead()
    apply(entries, to: member)
    return member
  }

  @Test func aRequestIsAppliedInTheNameOfItsUserAsOfItsEntry() throws {
    let member = try Self.member()
    #expect(member.answers.allSatisfy { $0.error == nil })
    #expect(member.machine.auth.isEnabled && member.machine.auth.revision == Self.revision)
    let user = Proposer(username: "u", authRevision: Self.revision)
    let root = Proposer(username: "root", authRevision: Self.revision)
    let revoke = Etcdserverpb.AuthRoleRevokePermissionRequest(role: "r", key: Self.bytes("a"))
    let entries = [
      Entry(operation: .put, request: Self.put("a"), proposer: user),
      Entry(operation: .put, request: Self.put("b"), proposer: user),
      Entry(operation: .put, request: Self.put("b"), proposer: nil),
      Entry(
        operation: .put,
        request: Self.put("a"),
        proposer: Proposer(username: "u", authRevision: Self.revision - 1)
      ),
      Entry(
        operation: .put,
        request: Self.put("a"),
        proposer: Proposer(username: "x", authRevision: Self.revision)
      ),
      Entry(operation: .authDisable, request: [], proposer: user),
      Entry(operation: .authRoleRevokePermission, request: revoke.encoded(), proposer: root),
      // In the same batch, and yet after it.
      Entry(operation: .put, request: Self.put("a"), proposer: user),
      Entry(
        operation: .put,
        request: Self.put("a"),
        proposer: Proposer(username: "u", authRevision: Self.revision + 1)
      ),
    ]
    let before = member.answers.count
    Self.apply(entries, to: member)
    #expect(
      member.answers.dropFirst(before).map(\.error) == [
        nil, .permissionDenied, .userEmpty, .oldAuthRevision, .permissionDenied,
        .permissionDenied, nil, .oldAuthRevision, .permissionDenied,
      ]
    )
    #expect(member.store.currentRevision == Revision(2))
  }

  @Test func whatAMemberProposesItselfNeedsNoUser() throws {
    let member = try Self.member()
    Self.apply(
      [Entry(operation: .put, request: Self.put("a"), isFromMember: true)],
      to: member
    )
    #expect(member.store.currentRevision == Revision(2))
    // The first call of the first loop is not to be taken for that.
    let before = member.answers.count
    Self.apply([Entry(operation: .put, request: Self.put("a"))], to: member)
    #expect(member.answers.dropFirst(before).map(\.error) == [.userEmpty])
    #expect(member.store.currentRevision == Revision(2))
  }

  @Test func passwordsAreKeptAsTheirHashes() throws {
    let member = try Self.member()
    #expect(member.machine.auth.user(AuthState.root)?.passwordHash == Self.bytes("hash"))
    #expect(PasswordField.hash(in: "no base64!") == [])
    for length in 0..<70 {
      let hash = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37) }
      #expect(PasswordField.hash(in: PasswordField.text(of: hash)) == hash)
    }
  }

  @Test func changesAreAppliedTheSameWayHoweverTheyCome() throws {
    let seed = UInt64.random(in: 0 ... .max)
    for round in 0..<20 {
      var random = SeededGenerator(seed: seed &+ UInt64(round))
      let entries = Self.setUp + (0..<60).map { _ in Self.entry(&random) }
      let batched = try Self.member(entries)
      let single = try DirectMember()
      single.lead()
      Self.apply(entries, to: single, inOneBatch: false)
      // As a replay sees them: proposed by a process that is no more, and nobody waits.
      let replayed = try DirectMember()
      replayed.lead()
      Self.apply(entries, to: replayed, epoch: DirectMember.epoch + 1)
      #expect(replayed.answers.isEmpty)
      #expect(
        batched.answers.map(\.error) == single.answers.map(\.error),
        "seed \(seed), round \(round)"
      )
      let state = batched.machine.auth.encoded()
      for other in [single, replayed] {
        #expect(other.machine.auth.encoded() == state, "seed \(seed), round \(round)")
        #expect(
          other.store.currentRevision == batched.store.currentRevision,
          "seed \(seed), round \(round)"
        )
      }
      #expect(try AuthState(decoding: state) == batched.machine.auth)
    }
  }

  private static func entry(_ random: inout SeededGenerator) -> Entry {
    func pick(_ list: [String]) -> String { list[Int.random(in: 0..<list.count, using: &random)] }
    let users = ["root", "u", "v", "w"]
    let roles = ["root", "r", "s"]
    let keys = ["a", "b", "c"]
    let proposer = Proposer(
      username: pick(["root", "root", "u", "v", ""]),
      authRevision: UInt64.random(in: revision...revision + 12, using: &random)
    )
    let (operation, request): (ReplicatedOperation, [UInt8]) =
      switch Int.random(in: 0..<11, using: &random) {
      case 0: (.authUserAdd, Etcdserverpb.AuthUserAddRequest(name: pick(users)).encoded())
      case 1: (.authUserDelete, Etcdserverpb.AuthUserDeleteRequest(name: pick(users)).encoded())
      case 2:
        (
          .authUserGrantRole,
          Etcdserverpb.AuthUserGrantRoleRequest(user: pick(users), role: pick(roles)).encoded()
        )
      case 3:
        (
          .authUserRevokeRole,
          Etcdserverpb.AuthUserRevokeRoleRequest(name: pick(users), role: pick(roles)).encoded()
        )
      case 4: (.authRoleAdd, Etcdserverpb.AuthRoleAddRequest(name: pick(roles)).encoded())
      case 5: (.authRoleDelete, Etcdserverpb.AuthRoleDeleteRequest(role: pick(roles)).encoded())
      case 6:
        (
          .authRoleGrantPermission,
          Etcdserverpb.AuthRoleGrantPermissionRequest(
            name: pick(roles),
            perm: .init(permType: .readwrite, key: bytes(pick(keys)), rangeEnd: bytes(pick(keys)))
          ).encoded()
        )
      case 7: (.authDisable, [])
      case 8: (.authEnable, [])
      default: (.put, put(pick(keys)))
      }
    return Entry(operation: operation, request: request, proposer: proposer)
  }
}

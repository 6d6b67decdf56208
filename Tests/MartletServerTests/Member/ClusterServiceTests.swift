import Base
import Logging
import MartletServer
import NIOCore
import Proto
import RPC
import Synchronization
import Testing

/// What clients get from any member of a cluster of three: the request path.
@Suite("Three members: what clients are answered", .timeLimit(.minutes(10)))
struct ClusterServiceTests {
  private static func quick(_: Int, _ configuration: inout ServerConfiguration) {
    configuration.heartbeatInterval = .milliseconds(100)
    configuration.electionTimeout = .seconds(1)
  }

  private static let leaderWanted = CallOptions(metadata: [("hasleader", "true")])

  @Test("writes at every member, and linearizable reads of them at every other at once")
  func writesAndReads() async throws {
    try await withCluster(3) { cluster in
      for round in 0..<4 {
        for index in 0..<3 {
          let value = "\(round).\(index)"
          let put = try await cluster.node(index).kv.put(.init("k", value))
          let id = try await cluster.id(of: index)
          #expect(put.header?.memberID == id)
          for other in 0..<3 {
            let read = try await cluster.node(other).kv.range(.init("k"))
            #expect(read.kvs.first?.text == "k=\(value)")
            let times = try await cluster.node(other).kv.txn(
              .init(success: [.init(request: .requestRange(.init("k")))])
            )
            #expect(times.succeeded)
          }
        }
      }
    }
  }

  @Test("Status, /health and /readyz at every member; without a quorum they say so")
  func health() async throws {
    try await withCluster(3, Self.quick) { cluster in
      let leader = try await cluster.leader()
      let leaderID = try await cluster.id(of: leader)
      for index in 0..<3 {
        let status = try await cluster.node(index).maintenance.status(.init())
        #expect(status.leader == leaderID && status.raftIndex > 0 && status.errors.isEmpty)
        #expect(!status.isLearner)
        for path in ["/health", "/readyz", "/livez"] {
          let answer = try await HTTPExchange.get(path, port: cluster.port(of: index))
          #expect(answer.status == 200, "\(path) at \(index): \(answer.body)")
        }
        let metrics = try await HTTPExchange.get("/metrics", port: cluster.port(of: index)).body
        #expect(metrics.contains("etcd_server_has_leader 1\n"))
        #expect(metrics.contains("etcd_server_is_leader \(index == leader ? 1 : 0)\n"))
        #expect(metrics.contains("etcd_server_is_learner 0\n"))
      }
      _ = try await cluster.node(leader).kv.put(.init("a", "1"))
      let last = try #require((0..<3).first { $0 != leader })
      let others = (0..<3).filter { $0 != last }
      try await cluster.expect("a", "1", at: last)
      let watch = try await WatchClient(cluster.node(last).client).watch(
        options: Self.leaderWanted
      )
      await watch.send(.init(requestUnion: .createRequest(.init(key: [97]))))
      var responses = watch.responses.makeAsyncIterator()
      #expect(try await responses.next()?.created == true)
      for index in others { await cluster.stop(index) }
      let node = try cluster.node(last)
      _ = try await eventually(within: 30, "no leader") {
        try await node.maintenance.status(.init()).leader == 0 ? true : nil
      }
      let status = try await node.maintenance.status(.init())
      #expect(status.errors == ["etcdserver: no leader"])
      await expectFailure(.unavailable, "etcdserver: no leader") {
        _ = try await node.kv.put(.init("a", "2"), options: Self.leaderWanted)
      }
      await expectFailure(.unavailable, "etcdserver: no leader") {
        _ = try await node.kv.range(.init("a"), options: Self.leaderWanted)
      }
      // Serializable reads need nobody.
      var request = Etcdserverpb.RangeRequest("a")
      request.serializable = true
      #expect(try await node.kv.range(request).kvs.first?.text == "a=1")
      // The stream that wants a leader is ended.
      await expectFailure(.unavailable, "etcdserver: no leader") {
        while try await responses.next() != nil {}
      }
      let live = try await HTTPExchange.get(
        "/health?serializable=true",
        port: cluster.port(of: last)
      )
      #expect(live.status == 200)
      let health = try await HTTPExchange.get("/health", port: cluster.port(of: last))
      #expect(health.status == 503)
      // Others wait for a leader for as long as etcd's would.
      await expectFailure(.unavailable) { _ = try await node.kv.put(.init("a", "3")) }
    }
  }

  @Test("MoveLeader: at the leader only, to voters only; the new one leads when it answers")
  func moveLeader() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let target = (leader + 1) % 3
      let targetID = try await cluster.id(of: target)
      await expectFailure(.failedPrecondition, "etcdserver: not leader") {
        _ = try await cluster.node(target).maintenance.moveLeader(.init(targetID: targetID))
      }
      await expectFailure(.failedPrecondition, "etcdserver: bad leader transferee") {
        _ = try await cluster.node(leader).maintenance.moveLeader(.init(targetID: 12345))
      }
      _ = try await cluster.node(leader).maintenance.moveLeader(.init(targetID: targetID))
      let status = try await cluster.node(leader).maintenance.status(.init())
      #expect(status.leader == targetID)
      _ = try await cluster.node(leader).kv.put(.init("a", "1"))
    }
  }

  @Test("leases at every member: renewals, times, and after a change of leader")
  func leases() async throws {
    try await withCluster(3, Self.quick) { cluster in
      let leader = try await cluster.leader()
      let granted = try await LeaseClient(cluster.node(leader).client).leaseGrant(.init(ttl: 60))
      _ = try await cluster.node(leader).kv.put(.init(key: [97], value: [1], lease: granted.id))
      for index in 0..<3 {
        let leases = LeaseClient(try cluster.node(index).client)
        let stream = try await leases.leaseKeepAlive(options: CallOptions(timeout: .seconds(30)))
        await stream.send(.init(id: granted.id))
        await stream.send(.init(id: 4711))
        stream.finishSending()
        var answers: [Int64: Int64] = [:]
        for try await answer in stream.responses { answers[answer.id] = answer.ttl }
        #expect(answers == [granted.id: 60, 4711: 0])
        let times = try await leases.leaseTimeToLive(.init(id: granted.id, keys: true))
        #expect((50...60).contains(times.ttl) && times.grantedTTL == 60 && times.keys == [[97]])
        #expect(try await leases.leaseTimeToLive(.init(id: 4711)).ttl == -1)
        #expect(try await leases.leaseLeases(.init()).leases.map(\.id) == [granted.id])
      }
      let target = try await cluster.id(of: (leader + 1) % 3)
      _ = try await cluster.node(leader).maintenance.moveLeader(.init(targetID: target))
      let old = LeaseClient(try cluster.node(leader).client)
      let stream = try await old.leaseKeepAlive(options: CallOptions(timeout: .seconds(30)))
      await stream.send(.init(id: granted.id))
      var responses = stream.responses.makeAsyncIterator()
      #expect(try await responses.next()?.ttl == 60)
      _ = try await old.leaseRevoke(.init(id: granted.id))
      await stream.send(.init(id: granted.id))
      #expect(try await responses.next()?.ttl == 0)
      stream.finishSending()
    }
  }

  @Test("locks, elections and watches at members that do not lead")
  func recipes() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let (one, other) = ((leader + 1) % 3, (leader + 2) % 3)
      let (lock, waiting) = (
        LockClient(try cluster.node(one).client), LockClient(try cluster.node(other).client)
      )
      let name = Array("mutex".utf8)
      let held = try await lock.lock(.init(name: name))
      async let second = waiting.lock(.init(name: name))
      let watch = try await WatchClient(cluster.node(other).client).watch(
        options: CallOptions(timeout: .seconds(60))
      )
      await watch.send(.init(requestUnion: .createRequest(.init(key: Array("w".utf8)))))
      var responses = watch.responses.makeAsyncIterator()
      let created = try #require(try await responses.next())
      #expect(created.created)
      let createdAt = try #require(created.header?.revision)
      let put = try await cluster.node(one).kv.put(.init("w", "1"))
      let events = try #require(try await responses.next())
      // J2: what comes is after the revision of the created answer.
      #expect(events.events.first?.kv?.modRevision == put.header?.revision)
      #expect(try #require(put.header?.revision) > createdAt)
      _ = try await lock.unlock(.init(key: held.key))
      let next = try await second
      #expect(next.key != held.key)
      let lease = try await LeaseClient(cluster.node(other).client).leaseGrant(.init(ttl: 60))
      let election = ElectionClient(try cluster.node(other).client)
      let won = try await election.campaign(
        .init(name: Array("e".utf8), lease: lease.id, value: [1])
      )
      #expect(won.leader?.lease == lease.id)
      let seen = try await ElectionClient(cluster.node(one).client).leader(
        .init(name: Array("e".utf8))
      )
      #expect(seen.kv?.value == [1])
    }
  }

  @Test("simple tokens are known to every member")
  func tokens() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let auth = AuthClient(try cluster.node((leader + 1) % 3).client)
      _ = try await auth.userAdd(.init(name: "root", password: "r"))
      _ = try await auth.roleAdd(.init(name: "root"))
      _ = try await auth.userGrantRole(.init(user: "root", role: "root"))
      _ = try await auth.authEnable(.init())
      await expectFailure(.invalidArgument) {
        _ = try await auth.authenticate(.init(name: "root", password: "wrong"))
      }
      let token = try await auth.authenticate(.init(name: "root", password: "r")).token
      #expect(!token.isEmpty)
      let options = CallOptions(metadata: [("token", token)])
      for index in 0..<3 {
        // A member that is behind by a moment has not heard of the token.
        _ = try await eventually(within: 10, "the token at \(index)") {
          try? await cluster.node(index).kv.put(.init("a", "\(index)"), options: options)
        }
        let read = try await cluster.node(index).kv.range(.init("a"), options: options)
        #expect(read.kvs.first?.text == "a=\(index)")
        await expectFailure(.unauthenticated, "etcdserver: invalid auth token") {
          let forged = CallOptions(metadata: [("token", "aaaaaaaaaaaaaaaa.1")])
          _ = try await cluster.node(index).kv.range(.init("a"), options: forged)
        }
      }
    }
  }

  /// Every member is stopped and started, one after the other, while clients write to all of them.
  /// A client goes on at another member when a call says that it was not done.
  @Test("a rolling restart fails no request")
  func rollingRestart() async throws {
    try await withCluster(3, Self.quick) { cluster in
      _ = try await cluster.leader()
      let isDone = Flag()
      try await withThrowingTaskGroup(of: Int.self) { group in
        for writer in 0..<6 {
          group.addTask { try await Self.write(writer, to: cluster, until: isDone) }
        }
        for index in 0..<3 {
          await cluster.stopServing(index)
          try await cluster.start(index)
          _ = try await cluster.leader()
        }
        isDone.set()
        var written = 0
        for try await count in group { written += count }
        #expect(written > 100)
      }
      // Every write was done once: the versions say so.
      for writer in 0..<6 {
        let kv = try await cluster.node(0).kv.range(.init("w\(writer)")).kvs.first
        let last = try #require(kv.flatMap { Int64(String(decoding: $0.value, as: UTF8.self)) })
        #expect(kv?.version == last)
      }
    }
  }

  /// A write at a follower is lost on its way with the stream that it was on, the leader stays the same:
  /// the follower sends it again on the next stream, and it is done once.
  @Test("a write that is lost with its stream to the leader is done all the same")
  func cutStream() async throws {
    let folder = try TemporaryFolder()
    func socket(_ index: Int) -> String { "\(folder.path)/\(TestCluster.names[index]).sock" }
    var proxies: [CuttingProxy] = []
    for index in 0..<3 {
      proxies.append(
        try await CuttingProxy.start(at: socket(index), to: "\(socket(index)).member")
      )
    }
    let paths = (0..<3).map { socket($0) }
    let peerURL: @Sendable (Int) -> String = { "unix://\(paths[$0])" }
    try await withCluster(3, peerURL: peerURL) { index, configuration in
      configuration.listenPeerURLs = ["unix://\(paths[index]).member"]
    } _: { cluster in
      let leader = try await cluster.leader()
      let before = try await cluster.node(leader).maintenance.status(.init())
      for follower in (0..<3) where follower != leader {
        let key = "lost at \(follower)"
        proxies[leader].cut(at: Array(key.utf8))
        let cuts = proxies[leader].cutCount
        let answer = try await cluster.node(follower).kv.put(.init(key, "v"))
        #expect(proxies[leader].cutCount == cuts + 1)
        #expect(answer.header?.raftTerm == before.header?.raftTerm)
        let pair = try await cluster.node(follower).kv.range(.init(key)).kvs.first
        #expect(pair?.version == 1)
      }
      #expect(try await cluster.leader() == leader)
    }
    for proxy in proxies { await proxy.stop() }
  }

  /// Writes rising numbers to a key; returns how many. Only what was refused undone is repeated.
  private static func write(
    _ writer: Int,
    to cluster: TestCluster,
    until isDone: Flag
  ) async throws -> Int {
    var count = 0
    var place = writer
    while !isDone.isSet {
      count += 1
      var attempts = 0
      while true {
        attempts += 1
        place += 1
        do {
          guard let node = cluster.runningNode(place % 3) else {
            try await Task.sleep(for: .milliseconds(5))
            continue
          }
          _ = try await node.kv.put(.init("w\(writer)", "\(count)"))
          break
        } catch let error as RPCError {
          let isNotDone =
            !error.mayHaveBeenProcessed || Self.notDone.contains(error.status.message)
          guard error.code == .unavailable, isNotDone, attempts < 1000 else { throw error }
          try await Task.sleep(for: .milliseconds(5))
        }
      }
    }
    return count
  }

  /// What a member says of writes that it did not take.
  private static let notDone = ["etcdserver: server stopped", "etcdserver: no leader"]

  /// A word from one task to others.
  final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
  }
}

extension TestCluster {
  func id(of index: Int) async throws -> UInt64 {
    let status = try await node(index).maintenance.status(Etcdserverpb.StatusRequest())
    return try #require(status.header?.memberID)
  }

  func port(of index: Int) throws -> Int {
    let address = try #require(try node(index).member.clientAddresses.first)
    return try #require(address.split(separator: ":").last.flatMap { Int($0) })
  }
}

import Base
import MartletServer
import Proto
import RPC
import Testing

@Suite("A running member: leases")
struct LeaseTests {
  /// Short elections, so that one second is the shortest lease.
  private static func quick(_ configuration: inout ServerConfiguration) {
    configuration.heartbeatInterval = .milliseconds(20)
    configuration.electionTimeout = .milliseconds(200)
  }

  @Test("grant, revoke, times and list, as etcd answers")
  func answers() async throws {
    try await withMember { member in
      let leases = LeaseClient(member.client)
      let drawn = try await leases.leaseGrant(.init(ttl: 10_000))
      #expect(drawn.id > 0 && drawn.ttl == 10_000 && drawn.header?.revision == 1)
      #expect(try await leases.leaseGrant(.init(ttl: -3, id: -7)).ttl == 2)
      #expect(try await leases.leaseGrant(.init(ttl: 5000, id: 9)).id == 9)
      await expectFailure(.failedPrecondition, "etcdserver: lease already exists") {
        _ = try await leases.leaseGrant(.init(ttl: 50, id: 9))
      }
      await expectFailure(.outOfRange, "etcdserver: too large lease TTL") {
        _ = try await leases.leaseGrant(.init(ttl: 9_000_000_001, id: 10))
      }
      await expectFailure(.notFound, "etcdserver: requested lease not found") {
        _ = try await leases.leaseRevoke(.init(id: 10))
      }
      await expectFailure(.notFound, "etcdserver: requested lease not found") {
        _ = try await member.kv.put(.init(key: [97], value: [1], lease: 10))
      }
      // What ends first comes first.
      let list = try await leases.leaseLeases(.init())
      #expect(list.leases.map(\.id).suffix(2) == [9, drawn.id])
      for key in ["b", "a"] {
        _ = try await member.kv.put(.init(key: Array(key.utf8), value: [1], lease: 9))
      }
      let times = try await leases.leaseTimeToLive(.init(id: 9, keys: true))
      #expect(times.grantedTTL == 5000 && (4000...5000).contains(times.ttl))
      #expect(times.keys == [[97], [98]] && times.header?.revision == 3)
      #expect(try await leases.leaseTimeToLive(.init(id: 9)).keys.isEmpty)
      let unknown = try await leases.leaseTimeToLive(.init(id: 10, keys: true))
      #expect(unknown.ttl == -1 && unknown.grantedTTL == 0 && unknown.id == 10)
      #expect(try await leases.leaseRevoke(.init(id: 9)).header?.revision == 4)
      #expect(try await member.kv.range(.all).count == 0)
      #expect(try await leases.leaseTimeToLive(.init(id: 9)).ttl == -1)
    }
  }

  @Test("a stream keeps many leases alive; unknown ones have TTL 0")
  func keepAlive() async throws {
    try await withMember { member in
      let leases = LeaseClient(member.client)
      for id in 1...20 as ClosedRange<Int64> {
        _ = try await leases.leaseGrant(.init(ttl: 1000 + id, id: id))
      }
      let stream = try await leases.leaseKeepAlive()
      var answers = stream.responses.makeAsyncIterator()
      for round in 0..<3 {
        for id in 1...21 as ClosedRange<Int64> { await stream.send(.init(id: id)) }
        for id in 1...21 as ClosedRange<Int64> {
          let answer = try #require(try await answers.next(), "round \(round)")
          #expect(answer.id == id && answer.ttl == (id == 21 ? 0 : 1000 + id))
          #expect(answer.header?.revision == 1 && answer.header?.raftTerm ?? 0 > 0)
        }
      }
      stream.finishSending()
      #expect(try await answers.next() == nil)
    }
  }

  /// That a renewed lease lives on is shown by `LeaseApplyTests`, where no machine is too slow to
  /// renew in time.
  @Test("an expired lease takes its keys in one revision, and no others", .timeLimit(.minutes(10)))
  func expiry() async throws {
    try await withMember(Self.quick) { member in
      let leases = LeaseClient(member.client)
      func put(_ keys: [String], lease: Int64) async throws {
        let puts = keys.map { key in
          Etcdserverpb.RequestOp(
            request: .requestPut(.init(key: Array(key.utf8), value: [1], lease: lease))
          )
        }
        _ = try await member.kv.txn(.init(success: puts))
      }
      _ = try await leases.leaseGrant(.init(ttl: 5000, id: 1))
      try await put(["kept-0", "kept-1"], lease: 1)
      var short: Int64 = 2
      var granted = ContinuousClock.now
      while true {
        granted = ContinuousClock.now
        #expect(try await leases.leaseGrant(.init(ttl: 0, id: short)).ttl == 1)
        do {
          try await put(["gone-2", "gone-0", "gone-1"], lease: short)
          break
        } catch let error as RPCError where error.code == .notFound {
          // On a busy machine it may be over before its keys are there.
          short += 1
        }
      }
      while try await member.kv.range(.all).count == 5 {
        try await Task.sleep(for: .milliseconds(20))
      }
      #expect(ContinuousClock.now - granted >= .seconds(1))
      let rest = try await member.kv.range(.all)
      #expect(rest.kvs.map(\.key) == ["kept-0", "kept-1"].map { Array($0.utf8) })
      #expect(rest.header?.revision == 4)
      #expect(try await leases.leaseTimeToLive(.init(id: short)).ttl == -1)
      let stream = try await leases.leaseKeepAlive()
      var answers = stream.responses.makeAsyncIterator()
      await stream.send(.init(id: short))
      #expect(try await answers.next()?.ttl == 0)
    }
  }

  @Test("a restart keeps leases, their keys and what is known of their times")
  func restart() async throws {
    let folder = try TemporaryFolder()
    for life in 0..<3 {
      let member = try await TestMember.start(in: folder)
      let leases = LeaseClient(member.client)
      if life > 0 {
        let times = try await leases.leaseTimeToLive(.init(id: 5, keys: true))
        #expect(times.grantedTTL == 5000 && (4000...5000).contains(times.ttl))
        #expect(times.keys == (0..<life).map { Array("key-\($0)".utf8) })
        #expect(try await leases.leaseLeases(.init()).leases.map(\.id) == [5])
      } else {
        _ = try await leases.leaseGrant(.init(ttl: 5000, id: 5))
        _ = try await leases.leaseGrant(.init(ttl: 500, id: 6))
        _ = try await leases.leaseRevoke(.init(id: 6))
      }
      _ = try await member.kv.put(
        .init(key: Array("key-\(life)".utf8), value: [1], lease: 5)
      )
      await member.stop()
    }
    withExtendedLifetime(folder) {}
  }

  @Test("what is left of a lease outlives a clean stop")
  func remaining() async throws {
    let folder = try TemporaryFolder()
    let granted: Int64 = 600
    let first = try await TestMember.start(in: folder)
    _ = try await LeaseClient(first.client).leaseGrant(.init(ttl: granted, id: 5))
    _ = try await LeaseClient(first.client).leaseGrant(.init(ttl: granted, id: 6))
    // Long enough to tell it from a lease that begins anew, with what a new leader adds.
    let left = try await eventually(within: 60, "some of the lease is over") {
      let ttl = try await LeaseClient(first.client).leaseTimeToLive(.init(id: 5)).ttl
      return ttl <= granted - 4 ? ttl : nil
    }
    await first.stop()
    let second = try await TestMember.start(in: folder)
    let leases = LeaseClient(second.client)
    #expect(try await leases.leaseTimeToLive(.init(id: 5)).ttl <= left + 2)
    // A renewal gives all of it again, also beyond the next stop.
    let renewal = try await leases.leaseKeepAlive()
    await renewal.send(.init(id: 6))
    var answers = renewal.responses.makeAsyncIterator()
    #expect(try await answers.next()?.ttl == granted)
    #expect(try await leases.leaseTimeToLive(.init(id: 6)).ttl > left)
    await second.stop()
    withExtendedLifetime(folder) {}
  }

  /// How they go, batch by batch, is for `LeaseApplyTests`; here is all of a member, whose leases may
  /// well end while the last are granted.
  @Test("thousands expire beside writes, and take their keys", .timeLimit(.minutes(10)))
  func storm() async throws {
    try await withMember(Self.quick) { member in
      let leases = LeaseClient(member.client)
      let count = 4000
      let lanes = 20
      try await withThrowingTaskGroup { tasks in
        for lane in 0..<lanes {
          tasks.addTask {
            for number in 0..<count / lanes {
              let id = Int64(lane * count + number + 1)
              _ = try await leases.leaseGrant(.init(ttl: 3, id: id))
              do {
                _ = try await member.kv.put(
                  .init(key: Array("k-\(id)".utf8), value: [1], lease: id)
                )
              } catch let error as RPCError where error.code == .notFound {
                #expect(error.status.message == "etcdserver: requested lease not found")
              }
            }
          }
        }
        try await tasks.waitForAll()
      }
      var slowest = Duration.zero
      var left = Int64(count)
      while left > 1 {
        let before = ContinuousClock.now
        _ = try await member.kv.put(.init("w", "1"))
        slowest = max(slowest, ContinuousClock.now - before)
        left = try await member.kv.range(.all).count
      }
      print("the slowest of the puts beside \(count) leases that expired took \(slowest)")
      while try await !leases.leaseLeases(.init()).leases.isEmpty {}
      #expect(try await member.kv.range(.all).kvs.map(\.text) == ["w=1"])
    }
  }
}

import MartletServer
import NIOCore
import Proto
import RPC
import Testing

/// Contenders who wait for each other.
@Suite("A running member: contenders for a lock")
struct LockWaitTests {
  private static let name = Array("mutex".utf8)
  /// Of 2 ms at least: how often something is looked for that must come.
  private static let triesMax = 100_000

  private static func keys(_ member: TestMember) async throws -> [Mvccpb.KeyValue] {
    try await member.kv.range(.init("mutex/", "mutex0")).kvs
  }

  /// Suspends until so many are in the row.
  private static func wait(_ member: TestMember, count: Int) async throws {
    for _ in 0..<triesMax {
      if try await keys(member).count == count { return }
      try await Task.sleep(for: .milliseconds(2))
    }
    Issue.record("there were never \(count) keys")
  }

  /// Suspends until these leases are there and no others.
  private static func waitForLeases(_ member: TestMember, _ expected: [Int64]) async throws {
    var found: [Int64] = []
    for _ in 0..<triesMax {
      found = try await LeaseClient(member.client).leaseLeases(.init()).leases.map(\.id).sorted()
      if found == expected { return }
      try await Task.sleep(for: .milliseconds(2))
    }
    Issue.record("the leases are still \(found)")
  }

  private static func lease(_ member: TestMember, _ id: Int64) async throws -> Int64 {
    try await LeaseClient(member.client).leaseGrant(.init(ttl: 60, id: id)).id
  }

  /// The options of calls that end even if the lock never comes.
  private static var patient: CallOptions { CallOptions(timeout: .minutes(9)) }

  @Test("J3: a waiter whose lease is gone does not get the lock")
  func expiredWaiter() async throws {
    try await withMember { member in
      let (lock, leases) = (LockClient(member.client), LeaseClient(member.client))
      let first = try await Self.lease(member, 1)
      let second = try await Self.lease(member, 2)
      _ = try await lock.lock(.init(name: Self.name, lease: first))
      let waiter = Task {
        try await lock.lock(.init(name: Self.name, lease: second), options: Self.patient)
      }
      try await Self.wait(member, count: 2)
      _ = try await leases.leaseRevoke(.init(id: second))
      _ = try await leases.leaseRevoke(.init(id: first))
      await expectFailure(.unknown, "mutex: session is expired") { _ = try await waiter.value }
      #expect(try await Self.keys(member).isEmpty)
    }
  }

  @Test("a waiter who gives up, or whose time is up, leaves nothing behind")
  func cancelledWaiters() async throws {
    try await withMember { member in
      let lock = LockClient(member.client)
      let held = try await lock.lock(.init(name: Self.name, lease: Self.lease(member, 1)))
      let second = try await Self.lease(member, 2)
      let waiter = Task {
        try await lock.lock(.init(name: Self.name, lease: second), options: Self.patient)
      }
      try await Self.wait(member, count: 2)
      waiter.cancel()
      await expectFailure(.canceled) { _ = try await waiter.value }
      try await Self.wait(member, count: 1)
      // With a lease of its own: that goes, too.
      await expectFailure(.deadlineExceeded) {
        let options = CallOptions(timeout: .milliseconds(100))
        _ = try await lock.lock(.init(name: Self.name), options: options)
      }
      // The member cleans up behind a caller who has gone already.
      try await Self.waitForLeases(member, [1, 2])
      try await Self.wait(member, count: 1)
      #expect(try await Self.keys(member).first?.key == held.key)
    }
  }

  @Test("twenty contenders: one holder at a time, in the order in which they came")
  func twenty() async throws {
    try await withMember { member in
      let lock = LockClient(member.client)
      let count: Int64 = 20
      var contenders: [Task<[UInt8], any Error>] = []
      for id in 1...count {
        let lease = try await Self.lease(member, id)
        contenders.append(
          Task {
            let request = V3lockpb.LockRequest(name: Self.name, lease: lease)
            return try await lock.lock(request, options: Self.patient).key
          }
        )
        try await Self.wait(member, count: Int(id))
      }
      for (place, contender) in contenders.enumerated() {
        let key = try await contender.value
        let row = try await Self.keys(member).sorted { $0.createRevision < $1.createRevision }
        #expect(row.first?.key == key, "the holder is the first of the row")
        #expect(row.count == Int(count) - place)
        _ = try await lock.unlock(.init(key: key))
      }
      #expect(try await Self.keys(member).isEmpty)
    }
  }

  @Test("observers see each leader and what it proclaims")
  func observe() async throws {
    try await withMember { member in
      let election = ElectionClient(member.client)
      let observed = try await election.observe(.init(name: Self.name), options: Self.patient)
      var leaders = observed.makeAsyncIterator()
      let first = try await election.campaign(
        .init(name: Self.name, lease: Self.lease(member, 1), value: [1])
      )
      #expect(try await leaders.next()?.kv?.value == [1])
      _ = try await election.proclaim(.init(leader: first.leader, value: [2]))
      #expect(try await leaders.next()?.kv?.value == [2])
      let second = try await Self.lease(member, 2)
      let next = Task {
        try await election.campaign(
          .init(name: Self.name, lease: second, value: [3]),
          options: Self.patient
        )
      }
      try await Self.wait(member, count: 2)
      _ = try await election.resign(.init(leader: first.leader))
      #expect(try await next.value.leader?.lease == second)
      #expect(try await leaders.next()?.kv?.value == [3])
      observed.cancel()
    }
  }

  @Test("a member that stops ends those who wait")
  func stopping() async throws {
    let folder = try TemporaryFolder()
    let member = try await TestMember.start(in: folder)
    let lock = LockClient(member.client)
    _ = try await lock.lock(.init(name: Self.name, lease: Self.lease(member, 1)))
    let second = try await Self.lease(member, 2)
    let waiter = Task {
      try await lock.lock(.init(name: Self.name, lease: second), options: Self.patient)
    }
    try await Self.wait(member, count: 2)
    await member.member.stop()
    await expectFailure(.unavailable, "etcdserver: server stopped") { _ = try await waiter.value }
    await member.client.shutdown()
    withExtendedLifetime(folder) {}
  }
}

import Base
import Lease
import MVCC
import Proto
import Replica
import Storage
import Testing

/// What the log does to leases, and how a leader lets them expire.
struct LeaseApplyTests {
  private static let second: UInt64 = 1_000_000_000
  private let member: DirectMember

  init() throws {
    member = try DirectMember()
    member.machine.now = Self.second
    member.lead()
  }

  private func call(_ operation: ReplicatedOperation, _ request: some Message) {
    member.propose(operation, request.encoded(), RequestHandle(loop: 0, call: 1))
    member.run()
  }

  private func grant(_ id: Int64, _ seconds: Int64) {
    call(.leaseGrant, Etcdserverpb.LeaseGrantRequest(ttl: seconds, id: id))
  }

  private func put(_ key: String, lease: Int64 = 0) {
    call(.put, Etcdserverpb.PutRequest(key: Array(key.utf8), value: [1], lease: lease))
  }

  private var leases: LeaseRegistry { member.machine.leases }

  /// Ticks as they come, for so long.
  private func pass(seconds: UInt64) {
    for _ in 0..<seconds * 10 {
      member.machine.now += Self.second / 10
      member.machine.tick()
      member.run()
    }
  }

  private func keys(on lease: Int64) -> [String] {
    leases.keys(of: LeaseID(lease)).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func grantsAreAnsweredAsByEtcd() throws {
    grant(7, 100)
    grant(7, 100)
    grant(8, LeaseRegistry.secondsMax + 1)
    grant(0, 5)
    call(.leaseRevoke, Etcdserverpb.LeaseRevokeRequest(id: 9))
    put("a", lease: 9)
    let granted = try Etcdserverpb.LeaseGrantResponse(
      decoding: try #require(member.answers[0].message)
    )
    #expect(granted.id == 7 && granted.ttl == 100 && granted.error.isEmpty)
    #expect(granted.header?.revision == 1)
    #expect(
      member.answers.dropFirst().map(\.error)
        == [
          .leaseExists, .leaseTimeToLiveTooLarge, .leaseNotFound, .leaseNotFound, .leaseNotFound,
        ]
    )
    #expect(leases.count == 1)
  }

  @Test func aRevocationDeletesItsKeysInOneRevision() throws {
    grant(7, 100)
    for key in ["c", "a", "b", "d"] { put(key, lease: 7) }
    put("d")
    put("e")
    call(.deleteRange, Etcdserverpb.DeleteRangeRequest(key: Array("b".utf8)))
    #expect(keys(on: 7) == ["a", "c"])
    let before = member.store.currentRevision
    call(.leaseRevoke, Etcdserverpb.LeaseRevokeRequest(id: 7))
    let store = member.store
    guard
      case .events(let block) = store.run(
        EventScan(from: before.next),
        reader: store.makeReader()
      )
    else {
      Issue.record("the revocation's revision cannot be read")
      return
    }
    #expect(block.count == 2)
    var frame = EventFrame(base: try #require(block.block.bytes.baseAddress))
    for sub in 0..<UInt32(2) {
      #expect(frame.isDelete && frame.main == before.next.rawValue && frame.sub == sub)
      frame = frame.next
    }
    let answer = try #require(member.answers.last?.message)
    let revoked = try Etcdserverpb.LeaseRevokeResponse(decoding: answer)
    #expect(revoked.header?.revision == before.next.rawValue)
    #expect(member.store.currentRevision == before.next)
    // Without keys there is no revision.
    grant(8, 100)
    call(.leaseRevoke, Etcdserverpb.LeaseRevokeRequest(id: 8))
    #expect(member.store.currentRevision == before.next)
  }

  @Test func aPutMovesItsKey() {
    grant(7, 100)
    grant(8, 100)
    put("a", lease: 7)
    put("b", lease: 7)
    put("a", lease: 8)
    #expect(keys(on: 7) == ["b"] && keys(on: 8) == ["a"])
    call(
      .put,
      Etcdserverpb.PutRequest(key: Array("a".utf8), value: [2], ignoreLease: true)
    )
    #expect(keys(on: 8) == ["a"])
    put("a")
    #expect(keys(on: 8) == [])
    var txn = Etcdserverpb.TxnRequest()
    txn.success = [
      .init(request: .requestPut(.init(key: Array("a".utf8), value: [3], lease: 7))),
      .init(request: .requestPut(.init(key: Array("c".utf8), value: [3], lease: 99))),
    ]
    call(.txn, txn)
    #expect(member.answers.last?.error == .leaseNotFound)
    #expect(keys(on: 7) == ["b"])
  }

  @Test func expiredLeasesGoThroughTheLog() {
    grant(7, 5)
    grant(8, 60)
    put("a", lease: 7)
    put("b", lease: 8)
    let before = member.store.currentRevision
    pass(seconds: 4)
    #expect(leases.renew(LeaseID(7), now: member.machine.now) == .renewed(seconds: 5))
    pass(seconds: 4)
    #expect(leases.count == 2)
    pass(seconds: 2)
    #expect(leases.count == 1)
    #expect(member.store.currentRevision == before.next)
    #expect(keys(on: 8) == ["b"])
  }

  @Test func manyExpireInBatchesOneAfterTheOther() {
    let count = LeaseUpkeepBounds.leasesMax * 5 / 2
    for id in 1...count { proposeGrant(Int64(id), 5) }
    member.run()
    #expect(leases.count == count)
    member.machine.now += 3 * Self.second / 2
    member.machine.tick()
    member.run()
    // The clock jumped: nothing yet, though all have expired.
    member.machine.now += 10 * Self.second
    member.machine.tick()
    #expect(!member.machine.hasExpiryToPropose)
    member.machine.now += 11 * Self.second / 10
    var batches = 0
    while member.machine.hasExpiryToPropose {
      member.machine.proposeExpiry()
      // The next batch waits until this one is applied.
      #expect(!member.machine.hasExpiryToPropose)
      // A write that came behind a batch waits for no other.
      let before = member.answers.count
      put("w-\(batches)")
      #expect(member.answers.count == before + 1 && member.answers[before].error == nil)
      batches += 1
      #expect(leases.count == max(0, count - batches * LeaseUpkeepBounds.leasesMax))
    }
    #expect(batches == 3)
    #expect(leases.statistics.expired == UInt64(count))
  }

  private enum LeaseUpkeepBounds {
    static let leasesMax = 500
  }

  private func proposeGrant(_ id: Int64, _ seconds: Int64) {
    member.propose(
      .leaseGrant,
      Etcdserverpb.LeaseGrantRequest(ttl: seconds, id: id).encoded(),
      .none
    )
  }

  // D3
  @Test func nothingExpiresWhileTheDiskHangs() {
    for id in 1...3 as ClosedRange<Int64> { grant(id, 5) }
    for _ in 0..<200 {
      member.machine.now += Self.second / 10
      member.machine.tick()
      // No write becomes durable.
      _ = member.turn()
      _ = leases.renew(LeaseID(3), now: member.machine.now)
    }
    #expect(leases.count == 3)
    // What was handed out is gone for its client; the rest lives on.
    #expect(leases.renew(LeaseID(1), now: member.machine.now) == .unknown)
    #expect(leases.renew(LeaseID(3), now: member.machine.now) == .renewed(seconds: 5))
    // The disk fails for good: no leader, and nobody is told that a lease lives.
    member.machine.logFailed()
    _ = member.turn()
    #expect(leases.renew(LeaseID(3), now: member.machine.now) == .notPrimary)
    #expect(leases.count == 3)
  }

  @Test func corruptionStopsExpiry() {
    grant(7, 2)
    call(
      .alarm,
      Etcdserverpb.AlarmRequest(action: .activate, memberID: 1, alarm: .corrupt)
    )
    pass(seconds: 10)
    #expect(leases.count == 1)
    call(
      .alarm,
      Etcdserverpb.AlarmRequest(action: .deactivate, memberID: 1, alarm: .corrupt)
    )
    pass(seconds: 1)
    #expect(leases.count == 0)
  }

  @Test func longLeasesAreCheckpointed() throws {
    grant(7, 1000)
    grant(8, 100)
    pass(seconds: 400)
    let remaining = try #require(leases.stored(LeaseID(7))?.remainingSeconds)
    #expect((600...700).contains(remaining))
    #expect(leases.renew(LeaseID(7), now: member.machine.now) == .needsCheckpoint)
    call(
      .leaseCheckpoint,
      Etcdserverpb.LeaseCheckpointRequest(checkpoints: [.init(id: 7)])
    )
    #expect(member.answers.last?.message != nil)
    #expect(leases.stored(LeaseID(7))?.remainingSeconds == 0)
    #expect(leases.renew(LeaseID(7), now: member.machine.now) == .renewed(seconds: 1000))
    #expect(leases.count == 1)
  }

  /// Only what changed is written, and a restart reads it all.
  @Test func recordsAreStoredByAndBy() throws {
    let disk = MemoryDisk()
    let member = try DirectMember(disk: disk) { $0.unstoredLeasesMax = 4 }
    member.lead()
    func flush() throws {
      let flush = try #require(member.run().compactMap(\.flush).first ?? member.machine.seal())
      try flush.job.run()
      member.store.finish(flush.job)
      member.machine.flushed(to: flush.mark)
    }
    let base = MemoryStorage(disk: disk)
    func records() throws -> [String] {
      var records: [String] = []
      try base.forEachMetadata(prefix: "lease.") { key, _ in records.append(key) }
      return records
    }
    func propose(_ operation: ReplicatedOperation, _ request: some Message) {
      member.propose(operation, request.encoded(), .none)
    }
    for id in 1...4 as ClosedRange<Int64> {
      propose(.leaseGrant, Etcdserverpb.LeaseGrantRequest(ttl: 50 * id, id: id * 100))
    }
    // Four are enough to flush by themselves.
    try flush()
    let first = try records()
    #expect(first.count == 4)
    // If the next flush wrote all of them, this one would come back.
    try base.commit(RevisionBatch(metadata: [(first[0], nil)]))
    propose(.leaseRevoke, Etcdserverpb.LeaseRevokeRequest(id: 200))
    propose(
      .leaseCheckpoint,
      Etcdserverpb.LeaseCheckpointRequest(checkpoints: [.init(id: 300, remainingTTL: 20)])
    )
    propose(.put, Etcdserverpb.PutRequest(key: [65], value: [1], lease: 400))
    propose(.put, Etcdserverpb.PutRequest(key: [66], value: [1], lease: 400))
    propose(.put, Etcdserverpb.PutRequest(key: [66], value: [1]))
    try flush()
    #expect(try records() == Array(first[2...]))
    let again = try DirectMember(disk: disk)
    for id in [200, 300, 400] as [Int64] {
      #expect(again.machine.leases.stored(LeaseID(id)) == member.machine.leases.stored(LeaseID(id)))
      #expect(
        again.machine.leases.keys(of: LeaseID(id)) == member.machine.leases.keys(of: LeaseID(id))
      )
    }
    #expect(again.machine.leases.count == 2)
    #expect(again.machine.leases.stored(LeaseID(300))?.remainingSeconds == 20)
    #expect(again.machine.leases.keys(of: LeaseID(400)) == [[65]])
  }

  @Test func aDamagedRecordIsRefused() throws {
    for (key, value) in [("lease.zz", 24), ("lease.1", 23), ("lease.", 24), ("lease.1", 24)] {
      let base = MemoryStorage()
      try base.commit(RevisionBatch(metadata: [(key, [UInt8](repeating: 0, count: value))]))
      #expect(throws: StorageError.self) {
        try LeaseRegistry().restore(from: TieredStorage(over: base))
      }
    }
  }
}

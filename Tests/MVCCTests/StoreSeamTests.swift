import Base
import MVCC
import Proto
import Testing

/// Leases by the simplest means.
private final class NaiveLeases: LeaseTable {
  var granted: Set<Int64> = [5, 6]
  var keys: [[UInt8]: Int64] = [:]

  func exists(_ lease: LeaseID) -> Bool { granted.contains(lease.rawValue) }

  func attach(_ key: UnsafeRawBufferPointer, to lease: LeaseID) {
    keys[[UInt8](key)] = lease.rawValue
  }

  func detach(_ key: UnsafeRawBufferPointer) {
    #expect(keys.removeValue(forKey: [UInt8](key)) != nil)
  }
}

@Suite struct StoreSeamTests {
  /// A put moves the key from its old lease to the new one; a delete takes it off.
  @Test func leasesFollowTheirKeys() throws {
    let leases = NaiveLeases()
    var harness = try StoreHarness(leases: leases)
    #expect(throws: StoreError.leaseNotFound) { try harness.put("a", "1", lease: 7) }
    try harness.put("a", "1", lease: 5)
    try harness.put("b", "1", lease: 5)
    try harness.put("a", "2", lease: 6)
    #expect(leases.keys == [[97]: 6, [98]: 5])
    _ = try harness.put(Pb.PutRequest(key: [97], value: [51], ignoreLease: true))
    #expect(leases.keys == [[97]: 6, [98]: 5])
    #expect(try harness.range("a").kvs.first?.lease == 6)
    try harness.flush()
    harness = try StoreHarness(disk: harness.disk, leases: leases)
    try harness.put("a", "4")
    try harness.delete("b")
    #expect(leases.keys.isEmpty)
  }

  /// Events are noted while somebody watches, in order, each with its pair; a delete's has the key
  /// and the revision.
  @Test func eventsOfBatches() throws {
    let harness = try StoreHarness()
    try harness.put("x", "0")
    #expect(harness.store.takeEvents()?.count == nil)
    #expect(harness.store.beginWatching() == Revision(2))
    _ = try harness.txn(
      Pb.TxnRequest(success: [
        Pb.RequestOp(request: .requestPut(.init(key: [97], value: [1]))),
        Pb.RequestOp(request: .requestDeleteRange(.init(key: [120]))),
      ])
    )
    try harness.delete("zz")
    try harness.put("b", "2")
    let block = try #require(harness.store.takeEvents())
    #expect(block.after == Revision(2) && block.through == Revision(4) && block.count == 3)
    #expect(harness.store.takeEvents()?.count == nil)
    try SharedBytes(block.block).withUnsafeBytes { bytes in
      var frame = EventFrame(base: try #require(bytes.baseAddress))
      var events: [Mvccpb.Event] = []
      var places: [String] = []
      for position in 0..<block.count {
        if position > 0 { frame = frame.next }
        events.append(try Mvccpb.Event(decoding: frame.eventBytes))
        places.append("\(frame.main).\(frame.sub) \(frame.isDelete) \([UInt8](frame.key))")
        #expect(
          [UInt8](frame.fieldBytes).suffix(frame.eventBytes.count) == [UInt8](frame.eventBytes)
        )
      }
      #expect(places == ["3.0 false [97]", "3.1 true [120]", "4.0 false [98]"])
      #expect(
        events.map(\.kv) == [
          .init(key: [97], createRevision: 3, modRevision: 3, version: 1, value: [1]),
          .init(key: [120], modRevision: 3),
          .init(key: [98], createRevision: 4, modRevision: 4, version: 1, value: [50]),
        ]
      )
      #expect(events.map(\.type) == [.put, .delete, .put])
    }
    harness.store.endWatching()
    try harness.put("b", "3")
    #expect(harness.store.takeEvents()?.count == nil)
    #expect(harness.store.beginWatching() == Revision(5))
    try harness.put("b", "4")
    #expect(harness.store.takeEvents()?.after == Revision(5))
  }

  @Test func statistics() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    try harness.put("b", "1")
    try harness.delete("a")
    _ = try harness.range("a")
    _ = try harness.txn(
      Pb.TxnRequest(success: [
        Pb.RequestOp(request: .requestRange(.init(key: [97])))
      ])
    )
    let statistics = harness.store.statistics
    #expect(statistics.puts == 2 && statistics.deletes == 1)
    #expect(statistics.ranges == 2 && statistics.txns == 1 && statistics.keys == 2)
    #expect(statistics.putBytes > 0)
  }

  /// What equal histories leave is equal, and what differs differs.
  @Test func stateHashFollowsTheHistory() throws {
    let first = try StoreHarness()
    let second = try StoreHarness()
    for harness in [first, second] {
      try harness.put("a", "1")
      try harness.delete("a")
    }
    #expect(first.store.stateHash == second.store.stateHash)
    try first.compact(2)
    #expect(first.store.stateHash != second.store.stateHash)
    try second.compact(2)
    #expect(first.store.stateHash == second.store.stateHash)
    try first.put("b", "1")
    try second.put("b", "2")
    #expect(first.store.stateHash != second.store.stateHash)
  }
}

import Base
import MVCC
import Proto
import Testing

/// One step of a history.
private enum Step {
  case put(String, String)
  case delete(String, String = "")
  case txn([Pb.RequestOp])
  case compact(Int64)
  /// HashKV at a revision, and what etcd 3.4.23 answered.
  case hash(Int64, UInt32, Int64)
}

private func put(_ key: String, _ value: String) -> Pb.RequestOp {
  Pb.RequestOp(
    request: .requestPut(Pb.PutRequest(key: Array(key.utf8), value: Array(value.utf8)))
  )
}

private func delete(_ key: String, _ end: String = "") -> Pb.RequestOp {
  Pb.RequestOp(
    request: .requestDeleteRange(
      Pb.DeleteRangeRequest(key: Array(key.utf8), rangeEnd: Array(end.utf8))
    )
  )
}

private func nested(_ operation: Pb.RequestOp) -> Pb.RequestOp {
  Pb.RequestOp(request: .requestTxn(Pb.TxnRequest(success: [operation])))
}

/// Histories put to etcd 3.4.23 through its gateway, and the hashes that `endpoint hashkv --rev`
/// gave. Compactions were physical.
private let histories: [(name: String, steps: [Step])] = [
  (
    "puts",
    [
      .hash(0, 1_084_519_789, -1), .put("a", "1"), .put("b", "2"), .put("a", "3"),
      .hash(0, 2_069_675_932, -1), .hash(2, 2_587_454_935, -1), .hash(3, 1_827_592_406, -1),
      .hash(4, 2_069_675_932, -1),
    ]
  ),
  (
    "deletes",
    [
      .put("a", "1"), .put("b", "2"), .delete("a"), .put("a", ""), .delete("a", "\0"),
      .hash(0, 2_219_066_552, -1), .hash(4, 1_562_576_432, -1), .hash(5, 1_928_916_042, -1),
      .hash(6, 2_219_066_552, -1),
    ]
  ),
  (
    "txn",
    [
      .txn([put("x", "1"), put("y", "2"), put("z", "3")]),
      .txn([delete("x"), put("w", "4"), delete("y", "z")]),
      .hash(0, 2_413_530_962, -1), .hash(2, 77_522_986, -1),
    ]
  ),
  (
    "compacted",
    [
      .put("a", "1"), .put("a", "2"), .put("b", "1"), .put("a", "3"), .compact(3),
      .hash(0, 2_948_815_330, 3), .hash(4, 1_514_356_665, 3), .hash(5, 2_948_815_330, 3),
    ]
  ),
  (
    "superseded",
    [
      .put("a", "1"), .put("b", "1"), .compact(3), .hash(0, 2_143_169_314, 3), .put("a", "2"),
      .hash(4, 2_393_049_859, 3), .hash(0, 2_393_049_859, 3),
    ]
  ),
  (
    "tombstone at compaction",
    [
      .put("a", "1"), .put("b", "1"), .delete("a"), .compact(4), .hash(0, 943_091_523, 4),
      .put("c", "1"), .hash(5, 636_317_916, 4),
    ]
  ),
  (
    "tombstone before compaction",
    [
      .put("a", "1"), .delete("a"), .put("b", "1"), .compact(4), .put("c", "1"),
      .hash(0, 2_558_955_051, 4),
    ]
  ),
  (
    "all deleted",
    [
      .put("a", "1"), .put("b", "1"), .delete("a", "z"), .hash(0, 108_040_959, -1),
      .put("c", "1"), .delete("c"), .compact(5), .hash(0, 1_651_159_526, 5),
      .hash(6, 1_651_159_526, 5),
    ]
  ),
  (
    "all deleted, kept below",
    [
      .put("a", "1"), .put("b", "1"), .put("a", "2"), .compact(4), .delete("a", "z"),
      .hash(0, 1_192_509_684, 4), .hash(5, 1_192_509_684, 4),
    ]
  ),
  (
    "put then delete in one revision",
    [
      .put("k", "0"), .txn([nested(put("k", "1")), nested(delete("k"))]), .put("j", "1"),
      .hash(3, 76_418_516, -1), .hash(4, 148_843_349, -1), .compact(3),
      .hash(4, 2_474_213_913, 3),
    ]
  ),
  (
    "delete then put in one revision",
    [
      .put("k", "0"), .txn([delete("a", "\0"), put("k", "1")]), .put("j", "1"),
      .hash(3, 3_582_218_472, -1), .hash(4, 4_158_831_743, -1), .compact(3),
      .hash(4, 2_202_919_442, 3),
    ]
  ),
  (
    "compacted twice at a tombstone",
    [
      .put("a", "1"), .delete("a"), .put("b", "1"), .compact(3), .hash(4, 3_584_256_279, 3),
      .compact(4), .put("a", "9"), .hash(5, 2_166_314_847, 4),
    ]
  ),
]

@Suite struct StoreHashTests {
  /// Hashes are etcd's, before the compaction's work, after it, and after a restart.
  @Test(arguments: [false, true])
  func equalsEtcd(finishesCompactions: Bool) throws {
    for history in histories {
      var harness = try StoreHarness()
      for step in history.steps {
        switch step {
        case .put(let key, let value): try harness.put(key, value)
        case .delete(let key, let end): try harness.delete(key, end)
        case .txn(let operations): _ = try harness.txn(Pb.TxnRequest(success: operations))
        case .compact(let revision):
          try harness.compact(revision)
          if finishesCompactions { try harness.finishCompaction() }
        case .hash(let revision, let hash, let compacted):
          for _ in 0..<2 {
            let got = try harness.hashKV(revision)
            #expect(got.hash == hash, "\(history.name) at \(revision)")
            #expect(got.compactRevision.rawValue == compacted, "\(history.name)")
            #expect(got.currentRevision == harness.store.currentRevision)
            try harness.flush()
            harness = try StoreHarness(disk: harness.disk)
          }
        }
      }
    }
  }

  @Test func revisionsOutsideTheHistoryAreRefused() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    try harness.put("a", "2")
    try harness.compact(2)
    #expect(throws: StoreError.compacted) { try harness.hashKV(1) }
    #expect(throws: StoreError.compacted) { try harness.hashKV(2) }
    #expect(throws: StoreError.futureRevision) { try harness.hashKV(4) }
    #expect(try harness.hashKV(3).hashRevision == Revision(3))
    #expect(try harness.hashKV(0).hashRevision == Revision(3))
  }

  /// The whole-store hash does not depend on how far a compaction's work is.
  @Test func wholeHashIgnoresPendingDeletions() throws {
    let harness = try StoreHarness()
    for number in 0..<50 { try harness.put("k\(number % 7)", "v\(number)") }
    try harness.delete("k3")
    try harness.compact(45)
    let before = try harness.store.hash(reader: harness.reader).hash
    try harness.finishCompaction()
    #expect(try harness.store.hash(reader: harness.reader).hash == before)
    try harness.put("k1", "more")
    #expect(try harness.store.hash(reader: harness.reader).hash != before)
  }
}

import Base
import MVCC
import Proto
import Testing

/// One test per line of contract/semantics.md that is the store's to keep.
@Suite struct StoreContractTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  private func put(_ key: String, _ value: String) -> Pb.RequestOp {
    Pb.RequestOp(request: .requestPut(Pb.PutRequest(key: bytes(key), value: bytes(value))))
  }

  private func range(_ key: String, revision: Int64 = 0) -> Pb.RequestOp {
    Pb.RequestOp(
      request: .requestRange(Pb.RangeRequest(key: bytes(key), revision: revision))
    )
  }

  // MARK: Revisions

  @Test func emptyStoreIsAtOneAndFirstWriteMakesTwo() throws {
    let harness = try StoreHarness()
    #expect(try harness.range("a").header?.revision == 1)
    #expect(try harness.put("a", "1").header == StoreHarness.header(2))
  }

  @Test func operationsOfOneTxnShareTheRevision() throws {
    let harness = try StoreHarness()
    let answer = try harness.txn(Pb.TxnRequest(success: [put("a", "1"), put("b", "2")]))
    #expect(answer.header?.revision == 2)
    #expect(try harness.range("a", "z").kvs.map(\.modRevision) == [2, 2])
  }

  @Test func requestsThatWriteNothingMakeNoRevision() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    #expect(try harness.delete("b").header?.revision == 2)
    let absent = Pb.Compare(target: .version, key: bytes("b"), targetUnion: .version(1))
    let answer = try harness.txn(Pb.TxnRequest(compare: [absent], success: [put("a", "2")]))
    #expect(answer.header?.revision == 2)
    #expect(!answer.succeeded)
  }

  @Test func livesOfAKey() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    try harness.put("a", "2")
    try harness.delete("a")
    try harness.put("a", "")
    let old = try #require(try harness.range("a", revision: 3).kvs.first)
    #expect(
      old == .init(key: bytes("a"), createRevision: 2, modRevision: 3, version: 2, value: [50])
    )
    let new = try #require(try harness.range("a").kvs.first)
    #expect(new == .init(key: bytes("a"), createRevision: 5, modRevision: 5, version: 1))
  }

  @Test func headerOfAnOldReadNamesTheCurrentRevision() throws {
    let harness = try StoreHarness()
    for value in 1...5 { try harness.put("a", "\(value)") }
    #expect(try harness.range("a", revision: 2).header?.revision == 6)
  }

  // MARK: Range

  @Test func rangeEnds() throws {
    let harness = try StoreHarness()
    for key in ["a", "b", "c"] { try harness.put(key, key) }
    let keys = { (key: String, end: String) in
      try harness.range(key, end).kvs.map { String(decoding: $0.key, as: UTF8.self) }
    }
    #expect(try keys("b", "") == ["b"])
    #expect(try keys("a", "c") == ["a", "b"])
    #expect(try keys("b", "\0") == ["b", "c"])
    #expect(try keys("\0", "\0") == ["a", "b", "c"])
    #expect(try keys("c", "a") == [])
    #expect(try keys("b", "b") == [])
    #expect(throws: StoreError.keyNotProvided) { try harness.range("", "b") }
  }

  @Test func sortOptionsOutsideTheirEnums() throws {
    let harness = try StoreHarness()
    for value in [-1, 3] as [Int32] {
      #expect(throws: StoreError.invalidSortOption) {
        try harness.range(Pb.RangeRequest(key: [1], sortOrder: .init(rawValue: value)))
      }
    }
    for value in [-1, 5] as [Int32] {
      #expect(throws: StoreError.invalidSortOption) {
        try harness.range(Pb.RangeRequest(key: [1], sortTarget: .init(rawValue: value)))
      }
    }
  }

  @Test func revisionsThatCanBeRead() throws {
    let harness = try StoreHarness()
    for value in 1...5 { try harness.put("a", "\(value)") }
    try harness.compact(4)
    #expect(throws: StoreError.futureRevision) { try harness.range("a", revision: 7) }
    #expect(throws: StoreError.compacted) { try harness.range("a", revision: 3) }
    #expect(try harness.range("a", revision: 4).kvs.first?.value == bytes("3"))
    #expect(try harness.range("a", revision: -3).kvs.first?.value == bytes("5"))
  }

  @Test func countAndMore() throws {
    let harness = try StoreHarness()
    for key in ["a", "b", "c", "d"] { try harness.put(key, key) }
    let limited = try harness.range(Pb.RangeRequest(key: [97], rangeEnd: [122], limit: 2))
    #expect(limited.kvs.count == 2 && limited.more && limited.count == 4)
    let exact = try harness.range(Pb.RangeRequest(key: [97], rangeEnd: [122], limit: 4))
    #expect(exact.kvs.count == 4 && !exact.more && exact.count == 4)
    let filtered = try harness.range(
      Pb.RangeRequest(key: [97], rangeEnd: [122], limit: 1, minModRevision: 4)
    )
    #expect(filtered.kvs.map(\.key) == [bytes("c")] && filtered.more && filtered.count == 4)
    let counted = try harness.range(
      Pb.RangeRequest(key: [97], rangeEnd: [122], limit: 1, countOnly: true, minModRevision: 9)
    )
    #expect(counted.kvs.isEmpty && !counted.more && counted.count == 4)
  }

  /// Taken from etcd 3.4.23: with sort_order NONE only the first limit + 1 pairs are sorted.
  @Test func sortWithoutOrder() throws {
    let harness = try StoreHarness()
    for (key, puts) in [("a", 4), ("b", 3), ("d", 1)] {
      for _ in 0..<puts { try harness.put(key, "") }
    }
    let first = { (order: Pb.RangeRequest.SortOrder) in
      try harness.range(
        Pb.RangeRequest(
          key: [97],
          rangeEnd: [122],
          limit: 1,
          sortOrder: order,
          sortTarget: .version
        )
      ).kvs.map(\.key)
    }
    #expect(try first(.none) == [bytes("b")])
    #expect(try first(.ascend) == [bytes("d")])
    #expect(try first(.descend) == [bytes("a")])
  }

  @Test func estimates() throws {
    let harness = try StoreHarness()
    for number in 0..<500 { try harness.put("k\(number)", "") }
    let all = Pb.RangeRequest(key: [0], rangeEnd: [0])
    #expect(try harness.estimate(all) == 500)
    var request = all
    request.limit = 10
    #expect(try harness.estimate(request) == 10)
    request.sortTarget = .mod
    #expect(try harness.estimate(request) == 500)
    request = all
    request.countOnly = true
    #expect(try harness.estimate(request) == 1)
    request.revision = 300
    #expect(try harness.estimate(request) == 500)
    #expect(try harness.estimate(Pb.RangeRequest(key: [107])) == 1)
  }

  // MARK: Put, DeleteRange

  @Test func ignoreFlags() throws {
    let harness = try StoreHarness()
    var request = Pb.PutRequest(key: bytes("a"), ignoreValue: true)
    #expect(throws: StoreError.keyNotFound) { try harness.put(request) }
    request.value = [1]
    #expect(throws: StoreError.valueProvided) { try harness.put(request) }
    #expect(throws: StoreError.leaseProvided) {
      try harness.put(Pb.PutRequest(key: bytes("a"), lease: 3, ignoreLease: true))
    }
    #expect(throws: StoreError.leaseNotFound) { try harness.put("a", "1", lease: 3) }
    #expect(harness.store.currentRevision == Revision(1))
    try harness.put("a", "kept")
    _ = try harness.put(Pb.PutRequest(key: bytes("a"), ignoreValue: true))
    #expect(try harness.range("a").kvs.first?.value == bytes("kept"))
  }

  @Test func previousPairs() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    let put = try harness.put(Pb.PutRequest(key: bytes("a"), value: bytes("2"), prevKV: true))
    #expect(put.prevKV?.value == bytes("1") && put.prevKV?.modRevision == 2)
    let first = try harness.put(Pb.PutRequest(key: bytes("b"), prevKV: true))
    #expect(first.prevKV == nil)
    let deleted = try harness.delete(
      Pb.DeleteRangeRequest(key: bytes("a"), rangeEnd: bytes("c"), prevKV: true)
    )
    #expect(deleted.deleted == 2 && deleted.prevKVs.map(\.key) == [bytes("a"), bytes("b")])
  }

  // MARK: Txn

  /// Taken from etcd 3.4.23, headers of nested responses included.
  @Test func answersOfANestedTxn() throws {
    let harness = try StoreHarness()
    for key in ["a", "b", "c"] { try harness.put(key, key) }
    let isNew = Pb.Compare(target: .value, key: bytes("a"), targetUnion: .value(bytes("9")))
    let nested = Pb.TxnRequest(compare: [isNew], success: [put("d", "t")], failure: [put("d", "f")])
    let answer = try harness.txn(
      Pb.TxnRequest(success: [
        range("a"), put("a", "9"), range("a"), Pb.RequestOp(request: .requestTxn(nested)),
        Pb.RequestOp(request: .requestDeleteRange(.init(key: bytes("zz")))),
      ])
    )
    let header = { Pb.ResponseHeader(revision: $0) }
    let before = Mvccpb.KeyValue(
      key: bytes("a"),
      createRevision: 2,
      modRevision: 2,
      version: 1,
      value: bytes("a")
    )
    let after = Mvccpb.KeyValue(
      key: bytes("a"),
      createRevision: 2,
      modRevision: 5,
      version: 2,
      value: bytes("9")
    )
    #expect(answer.header == StoreHarness.header(5))
    #expect(
      answer.responses.map(\.response) == [
        .responseRange(.init(header: header(4), kvs: [before], count: 1)),
        .responsePut(.init(header: header(5))),
        .responseRange(.init(header: header(5), kvs: [after], count: 1)),
        .responseTxn(
          .init(
            header: header(0),
            succeeded: false,
            responses: [.init(response: .responsePut(.init(header: header(5))))]
          )
        ),
        .responseDeleteRange(.init(header: header(5))),
      ]
    )
    #expect(try harness.range("d").kvs.first?.value == bytes("f"))
  }

  /// Taken from etcd 3.4.23: no key at all compares like one whose numbers are 0.
  @Test func comparesOfMissingKeys() throws {
    let harness = try StoreHarness()
    let rows: [(Pb.Compare, Bool)] = [
      (.init(result: .greater, target: .version, targetUnion: .version(0)), false),
      (.init(result: .equal, target: .version, targetUnion: .version(0)), true),
      (.init(result: .equal, target: .create, targetUnion: .createRevision(0)), true),
      (.init(result: .less, target: .mod, targetUnion: .modRevision(1)), true),
      (.init(result: .equal, target: .lease, targetUnion: .lease(0)), true),
      (.init(result: .equal, target: .value, targetUnion: .value([])), false),
      (.init(result: .notEqual, target: .value, targetUnion: .value([1])), false),
      (.init(result: .init(rawValue: 9), target: .version, targetUnion: .version(5)), true),
    ]
    for (row, holds) in rows {
      for end in ["", "z"] {
        var compare = row
        compare.key = bytes("x")
        compare.rangeEnd = bytes(end)
        #expect(try harness.txn(Pb.TxnRequest(compare: [compare])).succeeded == holds, "\(row)")
      }
    }
  }

  @Test func comparesOfRangesHoldForEveryKey() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    try harness.put("b", "1")
    var compare = Pb.Compare(target: .value, key: bytes("a"), targetUnion: .value(bytes("1")))
    compare.rangeEnd = bytes("c")
    #expect(try harness.txn(Pb.TxnRequest(compare: [compare])).succeeded)
    try harness.put("b", "2")
    #expect(try !harness.txn(Pb.TxnRequest(compare: [compare])).succeeded)
  }

  /// R8: a range at a revision that cannot be read fails the whole txn and writes nothing.
  @Test func rangesInTxnsAtBadRevisions() throws {
    let harness = try StoreHarness()
    for value in 1...5 { try harness.put("a", "\(value)") }
    try harness.compact(4)
    let hash = harness.store.stateHash
    let rows: [(Int64, StoreError)] = [
      (3, .compacted), (-1, .compacted), (7, .futureRevision),
    ]
    for (revision, error) in rows {
      let write = Pb.TxnRequest(success: [put("b", "1"), range("a", revision: revision)])
      #expect(throws: error) { try harness.txn(write) }
      let read = Pb.TxnRequest(success: [range("a", revision: revision)])
      #expect(throws: error) { try harness.txn(read, readOnly: true) }
    }
    #expect(harness.store.currentRevision == Revision(6))
    #expect(harness.store.stateHash == hash)
    let untaken = Pb.TxnRequest(success: [], failure: [range("a", revision: 3)])
    #expect(try harness.txn(untaken).succeeded)
  }

  @Test func putsInTxnsAreCheckedBeforeAnythingIsWritten() throws {
    let harness = try StoreHarness()
    let keep = Pb.RequestOp(
      request: .requestPut(Pb.PutRequest(key: bytes("x"), lease: 9, ignoreValue: true))
    )
    let leased = Pb.RequestOp(request: .requestPut(Pb.PutRequest(key: bytes("x"), lease: 9)))
    #expect(throws: StoreError.keyNotFound) {
      try harness.txn(Pb.TxnRequest(success: [put("a", "1"), keep]))
    }
    #expect(throws: StoreError.leaseNotFound) {
      try harness.txn(Pb.TxnRequest(success: [put("a", "1"), leased]))
    }
    #expect(try harness.range("a").count == 0)
  }

  @Test func aPutThatKeepsWhatItsTxnDeletedFails() throws {
    let harness = try StoreHarness()
    for key in ["a", "m", "z"] { try harness.put(key, "1") }
    func delete(from key: String) -> Pb.RequestOp {
      Pb.RequestOp(request: .requestDeleteRange(.init(key: bytes(key), rangeEnd: [0])))
    }
    let keep = Pb.RequestOp(
      request: .requestPut(Pb.PutRequest(key: bytes("m"), ignoreValue: true))
    )
    let nested = Pb.RequestOp(request: .requestTxn(Pb.TxnRequest(success: [keep])))
    for operations in [
      [delete(from: "m"), keep], [delete(from: "b"), nested],
      [delete(from: "z"), delete(from: "a"), keep],
    ] {
      #expect(throws: StoreError.keyNotFound) {
        try harness.txn(Pb.TxnRequest(success: operations))
      }
    }
    #expect(try harness.range("a", "zz").kvs.map(\.version) == [1, 1, 1])
    _ = try harness.txn(Pb.TxnRequest(success: [delete(from: "n"), keep]))
    #expect(try harness.range("a", "zz").kvs.map(\.version) == [1, 2])
    _ = try harness.txn(Pb.TxnRequest(success: [keep, delete(from: "b")]))
    #expect(try harness.range("a", "zz").kvs.map(\.key) == [bytes("a")])
  }

  // MARK: Compact

  @Test func compactionBounds() throws {
    let harness = try StoreHarness()
    #expect(harness.store.compactedRevision == Revision(-1))
    for value in 1...5 { try harness.put("a", "\(value)") }
    #expect(throws: StoreError.compacted) { try harness.compact(-1) }
    #expect(try harness.compact(0).header?.revision == 6)
    #expect(try harness.compact(4).header?.revision == 6)
    #expect(throws: StoreError.compacted) { try harness.compact(4) }
    #expect(throws: StoreError.futureRevision) { try harness.compact(7) }
    #expect(harness.store.compactedRevision == Revision(4))
  }
}

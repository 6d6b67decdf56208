import MVCC
import Proto
import Testing

private func put(_ key: String) -> Pb.RequestOp {
  Pb.RequestOp(request: .requestPut(Pb.PutRequest(key: Array(key.utf8))))
}

private func delete(_ key: String, _ end: String = "") -> Pb.RequestOp {
  Pb.RequestOp(
    request: .requestDeleteRange(
      Pb.DeleteRangeRequest(key: Array(key.utf8), rangeEnd: Array(end.utf8))
    )
  )
}

private func range(_ key: String) -> Pb.RequestOp {
  Pb.RequestOp(request: .requestRange(Pb.RangeRequest(key: Array(key.utf8))))
}

private func txn(_ success: [Pb.RequestOp], _ failure: [Pb.RequestOp] = []) -> Pb.RequestOp {
  Pb.RequestOp(request: .requestTxn(Pb.TxnRequest(success: success, failure: failure)))
}

/// Operations, and whether etcd 3.4.23 refused them as `duplicate key given in txn request`.
private let matrix: [(operations: [Pb.RequestOp], isRefused: Bool)] = [
  ([put("k"), put("k")], true),
  ([put("k"), put("j")], false),
  ([put("k"), delete("k")], true),
  ([delete("k"), put("k")], true),
  ([delete("a", "m"), put("k")], true),
  ([delete("a", "k"), put("k")], false),
  ([delete("k", "m"), put("k")], true),
  ([delete("a", "\0"), put("k")], false),
  ([delete("\0", "\0"), put("k")], false),
  ([delete("m", "a"), put("k")], false),
  ([delete("k", "k"), put("k")], false),
  ([txn([put("k")]), put("k")], true),
  ([txn([], [put("k")]), put("k")], true),
  ([txn([put("k")], [put("k")])], false),
  ([txn([put("k")], [put("k")]), txn([put("k")])], true),
  ([txn([put("k")]), txn([put("k")])], true),
  ([txn([put("k")]), txn([], [put("k")])], true),
  ([txn([put("k")]), txn([delete("k")])], false),
  ([txn([delete("k")]), txn([put("k")])], true),
  ([txn([put("k")]), delete("k")], true),
  ([put("k"), txn([delete("k")])], true),
  ([put("k"), txn([], [delete("k")])], true),
  ([txn([put("k")], [delete("k")])], false),
  ([txn([delete("k")], [put("k")])], false),
  ([txn([txn([put("k")])]), put("k")], true),
  ([txn([txn([put("k")])]), txn([], [txn([], [put("k")])])], true),
  ([txn([txn([put("k")])], [txn([], [put("k")])])], false),
  ([txn([txn([put("k")], [put("k")])], [txn([], [put("k")])])], false),
  ([delete("a", "c"), delete("x", "z"), put("k")], false),
  ([delete("k"), delete("k")], false),
  ([txn([txn([put("k")]), txn([delete("k")])])], false),
  ([range("k"), put("k"), range("k")], false),
  ([delete("k"), put("k\0")], false),
  ([delete("k\0"), put("k")], false),
]

@Suite struct TxnCheckTests {
  @Test func duplicateKeysAreThoseOfEtcd() throws {
    let harness = try StoreHarness()
    for (number, row) in matrix.enumerated() {
      for request in [Pb.TxnRequest(success: row.operations), .init(failure: row.operations)] {
        if row.isRefused {
          #expect(throws: StoreError.duplicateKey, "row \(number)") { try harness.check(request) }
        } else {
          #expect(throws: Never.self, "row \(number)") { try harness.check(request) }
        }
      }
    }
  }

  /// The fast search for duplicates against sets built level by level.
  @Test(arguments: 1...4)
  func agreesWithSetsOfKeys(seed: UInt64) throws {
    let harness = try StoreHarness()
    var random = SeededGenerator(seed: seed)
    var refused = 0
    for round in 0..<1500 {
      let request = randomTxn(&random, depth: 0)
      let isRefused =
        NaiveKeys.check(request.success) == nil
        || NaiveKeys.check(request.failure) == nil
      refused += isRefused ? 1 : 0
      let outcome = try Outcome { () throws -> Bool in
        try harness.check(request)
        return true
      }
      try #require(
        outcome == (isRefused ? .failure(.duplicateKey) : .answer(true)),
        "seed \(seed) round \(round) \(request)"
      )
    }
    #expect((200...1300).contains(refused), "the inputs are one-sided: \(refused)")
  }

  private func randomTxn(_ random: inout SeededGenerator, depth: Int) -> Pb.TxnRequest {
    var request = Pb.TxnRequest()
    let most = depth == 0 ? 5 : 3
    for _ in 0..<random.below(most) { request.success.append(operation(&random, depth)) }
    for _ in 0..<random.below(most) { request.failure.append(operation(&random, depth)) }
    return request
  }

  private func operation(_ random: inout SeededGenerator, _ depth: Int) -> Pb.RequestOp {
    let letters = "abcdefghijkl".map(String.init)
    let key = letters[random.below(letters.count)]
    switch random.below(4) {
    case 0 where depth < 4:
      return Pb.RequestOp(request: .requestTxn(randomTxn(&random, depth: depth + 1)))
    case 1:
      let ends = ["", "", "\0", letters[random.below(letters.count)]]
      return delete(key, ends[random.below(4)])
    default: return put(key)
    }
  }

  @Test func operationsAreCountedPerLevel() throws {
    let harness = try StoreHarness()
    let ranges = { (count: Int) in [Pb.RequestOp](repeating: range("a"), count: count) }
    let compares = { (count: Int) in
      [Pb.Compare](repeating: Pb.Compare(key: Array("a".utf8)), count: count)
    }
    try harness.check(Pb.TxnRequest(compare: compares(128), success: ranges(128)))
    for request in [
      Pb.TxnRequest(success: ranges(129)), .init(failure: ranges(129)),
      .init(compare: compares(129)),
    ] {
      #expect(throws: StoreError.tooManyOperations) { try harness.check(request) }
    }
    // 28 operations leave 100 for the nested txn.
    try harness.check(Pb.TxnRequest(success: ranges(27) + [txn(ranges(100))]))
    #expect(throws: StoreError.tooManyOperations) {
      try harness.check(Pb.TxnRequest(success: ranges(27) + [txn(ranges(101))]))
    }
    #expect(throws: StoreError.tooManyOperations) {
      try harness.check(Pb.TxnRequest(compare: compares(100), success: [txn(ranges(29))]))
    }
  }

  @Test func eachOperationIsChecked() throws {
    let harness = try StoreHarness()
    let empty = Pb.RequestOp()
    let noKey = Pb.RequestOp(request: .requestPut(Pb.PutRequest()))
    let value = Pb.RequestOp(
      request: .requestPut(Pb.PutRequest(key: [1], value: [1], ignoreValue: true))
    )
    let sort = Pb.RequestOp(
      request: .requestRange(Pb.RangeRequest(key: [1], sortTarget: .init(rawValue: 5)))
    )
    let rows: [(Pb.TxnRequest, StoreError)] = [
      (Pb.TxnRequest(success: [empty]), .keyNotFound),
      (Pb.TxnRequest(failure: [txn([], [empty])]), .keyNotFound),
      (Pb.TxnRequest(success: [noKey]), .keyNotProvided),
      (Pb.TxnRequest(compare: [Pb.Compare()]), .keyNotProvided),
      (Pb.TxnRequest(success: [value]), .valueProvided),
      (Pb.TxnRequest(success: [sort]), .invalidSortOption),
      (Pb.TxnRequest(success: [put("k"), put("k"), empty]), .keyNotFound),
    ]
    for (request, error) in rows {
      #expect(throws: error) { try harness.check(request) }
    }
  }

  /// A hundred thousand operations, nested and flat, are checked in time for one request.
  /// Quadratic work would take far longer than the limit.
  @Test(.timeLimit(.minutes(10)))
  func manyOperationsAreCheckedFast() throws {
    let harness = try StoreHarness()
    let clock = ContinuousClock()
    var operations: [Pb.RequestOp] = []
    for number in 0..<50_000 {
      operations.append(put("key-\(number)"))
      operations.append(delete("other-\(number)", "other-\(number)~"))
    }
    var deep: [Pb.RequestOp] = []
    for level in 0..<100 {
      deep = (0..<500).map { put("level-\(level)-\($0)") } + [txn(deep, [put("level-\(level)-x")])]
    }
    for list in [operations, deep] {
      let request = Pb.TxnRequest(success: list)
      let time = try clock.measure { try harness.check(request, maxOperations: 200_000) }
      print("a transaction of 100,000 operations was checked in \(time)")
    }
    operations.append(put("key-77"))
    #expect(throws: StoreError.duplicateKey) {
      try harness.check(Pb.TxnRequest(success: operations), maxOperations: 200_000)
    }
  }

  @Test func readOnlyAndSerializable() throws {
    let harness = try StoreHarness()
    let local = Pb.RequestOp(
      request: .requestRange(Pb.RangeRequest(key: [1], serializable: true))
    )
    let rows: [(Pb.TxnRequest, readOnly: Bool, serializable: Bool)] = [
      (Pb.TxnRequest(), true, false),
      (Pb.TxnRequest(success: [local], failure: [local]), true, true),
      (Pb.TxnRequest(success: [local], failure: [range("a")]), true, false),
      (Pb.TxnRequest(success: [txn([local])]), true, true),
      (Pb.TxnRequest(success: [txn([local], [range("a")])]), true, false),
      (Pb.TxnRequest(success: [local], failure: [put("a")]), false, false),
      (Pb.TxnRequest(success: [txn([], [delete("a")])]), false, false),
    ]
    for (request, readOnly, serializable) in rows {
      #expect(try harness.isReadOnly(request) == readOnly)
      #expect(try harness.isSerializable(request) == serializable)
    }
  }
}

/// The keys that a list puts, and the intervals it deletes; nil when two of them meet.
private struct NaiveKeys {
  var puts: Set<[UInt8]> = []
  var deletes: [(key: [UInt8], end: [UInt8])] = []

  private func isDeleted(_ key: [UInt8]) -> Bool {
    deletes.contains { span in
      if span.end.isEmpty { return key == span.key }
      return !key.lexicographicallyPrecedes(span.key) && key.lexicographicallyPrecedes(span.end)
    }
  }

  static func check(_ list: [Pb.RequestOp]) -> NaiveKeys? {
    var keys = NaiveKeys()
    for case .requestDeleteRange(let delete)? in list.map(\.request) {
      keys.deletes.append((delete.key, delete.rangeEnd))
    }
    for case .requestTxn(let nested)? in list.map(\.request) {
      guard let success = check(nested.success), let failure = check(nested.failure) else {
        return nil
      }
      let nestedPuts = success.puts.union(failure.puts)
      if !keys.puts.isDisjoint(with: nestedPuts) { return nil }
      if nestedPuts.contains(where: keys.isDeleted) { return nil }
      keys.puts.formUnion(nestedPuts)
      keys.deletes += success.deletes + failure.deletes
    }
    for case .requestPut(let put)? in list.map(\.request) {
      if keys.puts.contains(put.key) || keys.isDeleted(put.key) { return nil }
      keys.puts.insert(put.key)
    }
    return keys
  }
}

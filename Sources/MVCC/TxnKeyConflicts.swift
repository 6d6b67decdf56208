import Proto

/// How many operations of each kind a txn holds, nested ones included.
struct TxnKeyCount {
  var puts = 0
  var deletes = 0
  var txns = 0
}

/// Finds keys that a txn puts twice, or puts and deletes.
///
/// The rule, taken from what etcd 3.4 answers. Within one list of operations:
/// - a delete covers every put of the list and of txns nested in it, before and after it;
/// - a put meets every put and delete of the list and of txns nested in it;
/// - of two txns nested in the list, what the earlier deletes covers what the later puts, not the
///   other way round, and both putting one key is a conflict;
/// - the two branches of one txn never meet each other.
/// An interval is taken literally: one whose end is not greater than its start, "from key on"
/// (end `\0`) among them, covers nothing.
///
/// Keys are numbered in order first, so that each step costs O(log n): a count per key for puts, a
/// Fenwick tree over the keys' numbers for deletes. The smaller branch of a txn is taken out while
/// the other is looked at, so each operation is put in again O(log n) times.
struct TxnKeyConflicts {
  private enum Step {
    case put(Int)
    case delete(Range<Int>)
    case txn(success: List, failure: List)
  }

  /// Where a list's steps are, and how many there are with nested ones.
  private struct List {
    var steps: Range<Int>
    var weight: Int
  }

  /// All operations in a fixed order; a list's operations lie together.
  private var steps: [Step] = []
  private var putKeys: [UnsafeRawBufferPointer] = []
  private var putCounts: [Int] = []
  private var fenwick: [Int] = []

  init(_ count: TxnKeyCount) {
    steps.reserveCapacity(count.puts + count.deletes + count.txns)
    putKeys.reserveCapacity(count.puts)
  }

  mutating func exist(in request: Etcdserverpb.TxnRequest.View) -> Bool {
    collectKeys(request)
    putKeys.sort { compareKeys($0, $1) < 0 }
    var distinct = 0
    for key in putKeys where distinct == 0 || compareKeys(putKeys[distinct - 1], key) != 0 {
      putKeys[distinct] = key
      distinct += 1
    }
    putKeys.removeLast(putKeys.count - distinct)
    putCounts = [Int](repeating: 0, count: distinct)
    fenwick = [Int](repeating: 0, count: distinct + 2)
    // The branches of the outermost txn are looked at one by one, with nothing around them.
    for branch in [request.success, request.failure] {
      let list = lower(branch)
      if conflict(in: list) { return true }
      change(list, by: -1)
    }
    return false
  }

  /// Writes up to this many, in a txn without nested ones, are compared each with each.
  static let pairwiseMax = 16

  /// The same for one list without nested txns, by comparing each with each.
  static func existPairwise(in list: RepeatedView<Etcdserverpb.RequestOp.View>) -> Bool {
    for (position, operation) in list.enumerated() {
      guard case .requestPut(let put) = operation.request else { continue }
      for (otherPosition, other) in list.enumerated() where otherPosition != position {
        switch other.request {
        case .requestPut(let otherPut):
          if compareKeys(put.key, otherPut.key) == 0 { return true }
        case .requestDeleteRange(let delete):
          if covers(delete, put.key) { return true }
        case .requestRange, .requestTxn, nil: continue
        }
      }
    }
    return false
  }

  private static func covers(
    _ delete: Etcdserverpb.DeleteRangeRequest.View,
    _ key: UnsafeRawBufferPointer
  ) -> Bool {
    let order = compareKeys(delete.key, key)
    if delete.rangeEnd.isEmpty { return order == 0 }
    return order <= 0 && compareKeys(key, delete.rangeEnd) < 0
  }

  private mutating func collectKeys(_ request: Etcdserverpb.TxnRequest.View) {
    for branch in [request.success, request.failure] {
      for operation in branch {
        switch operation.request {
        case .requestPut(let put): putKeys.append(put.key)
        case .requestTxn(let nested): collectKeys(nested)
        case .requestRange, .requestDeleteRange, nil: continue
        }
      }
    }
  }

  /// Appends a list's steps, those of nested lists first, and returns where they are.
  private mutating func lower(
    _ list: RepeatedView<Etcdserverpb.RequestOp.View>
  ) -> List {
    var own: [Step] = []
    var weight = 0
    for operation in list {
      switch operation.request {
      case .requestPut(let put): own.append(.put(number(put.key)))
      case .requestDeleteRange(let delete):
        let span = delete.rangeEnd
        let start = number(delete.key)
        if span.isEmpty {
          let isPut = start < putKeys.count && compareKeys(putKeys[start], delete.key) == 0
          own.append(.delete(start..<(isPut ? start + 1 : start)))
        } else {
          own.append(.delete(start..<max(start, number(span))))
        }
      case .requestTxn(let nested):
        let success = lower(nested.success)
        let failure = lower(nested.failure)
        own.append(.txn(success: success, failure: failure))
        weight += success.weight + failure.weight
      case .requestRange, nil: continue
      }
    }
    let start = steps.count
    steps.append(contentsOf: own)
    return List(steps: start..<steps.count, weight: weight + own.count)
  }

  /// The number of the first put key that is not less than `key`.
  private func number(_ key: UnsafeRawBufferPointer) -> Int {
    var low = 0
    var high = putKeys.count
    while low < high {
      let middle = (low + high) >> 1
      if compareKeys(putKeys[middle], key) < 0 { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Looks through a list. Without a conflict, all that it puts and deletes is left counted.
  private mutating func conflict(in list: List) -> Bool {
    for index in list.steps {
      if case .delete(let keys) = steps[index] { count(keys, by: 1) }
    }
    for index in list.steps {
      guard case .txn(let success, let failure) = steps[index] else { continue }
      let (less, more) =
        success.weight <= failure.weight ? (success, failure) : (failure, success)
      if conflict(in: less) { return true }
      change(less, by: -1)
      if conflict(in: more) { return true }
      change(less, by: 1)
    }
    for index in list.steps {
      guard case .put(let key) = steps[index] else { continue }
      if putCounts[key] > 0 || deletes(covering: key) > 0 { return true }
      putCounts[key] += 1
    }
    return false
  }

  /// Counts everything that a list puts and deletes `delta` times more.
  private mutating func change(_ list: List, by delta: Int) {
    for index in list.steps {
      switch steps[index] {
      case .put(let key): putCounts[key] += delta
      case .delete(let keys): count(keys, by: delta)
      case .txn(let success, let failure):
        change(success, by: delta)
        change(failure, by: delta)
      }
    }
  }

  private mutating func count(_ keys: Range<Int>, by delta: Int) {
    guard !keys.isEmpty else { return }
    add(delta, at: keys.lowerBound)
    add(-delta, at: keys.upperBound)
  }

  private mutating func add(_ delta: Int, at key: Int) {
    var position = key + 1
    while position < fenwick.count {
      fenwick[position] += delta
      position += position & -position
    }
  }

  private func deletes(covering key: Int) -> Int {
    var total = 0
    var position = key + 1
    while position > 0 {
      total += fenwick[position]
      position -= position & -position
    }
    return total
  }
}

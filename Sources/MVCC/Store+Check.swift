package import Proto

// Checks of a request by itself. They need no state, so any thread may run them: the event loop
// does, before a request is proposed.
extension Store {
  /// Nested txns deeper than this are refused whatever `maxOperations` allows.
  package static let txnDepthMax = 512

  /// Throws `.keyNotProvided` or `.invalidSortOption`.
  package static func check(_ request: Etcdserverpb.RangeRequest.View) throws(StoreError) {
    if request.key.isEmpty { throw .keyNotProvided }
    guard (0...2).contains(request.sortOrder.rawValue),
      (0...4).contains(request.sortTarget.rawValue)
    else { throw .invalidSortOption }
  }

  /// Throws `.keyNotProvided`, `.valueProvided` or `.leaseProvided`.
  package static func check(_ request: Etcdserverpb.PutRequest.View) throws(StoreError) {
    if request.key.isEmpty { throw .keyNotProvided }
    if request.ignoreValue && !request.value.isEmpty { throw .valueProvided }
    if request.ignoreLease && request.lease != 0 { throw .leaseProvided }
  }

  /// Throws `.keyNotProvided`.
  package static func check(_ request: Etcdserverpb.DeleteRangeRequest.View) throws(StoreError) {
    if request.key.isEmpty { throw .keyNotProvided }
  }

  /// Throws `.tooManyOperations`, what the operations' own checks throw, or `.duplicateKey`.
  ///
  /// Of compares, operations on success and operations on failure there may be `maxOperations` each;
  /// what a level uses is taken from what its nested txns may use.
  package static func check(
    _ request: Etcdserverpb.TxnRequest.View,
    maxOperations: Int
  ) throws(StoreError) {
    var keys = TxnKeyCount()
    try check(request, maxOperations: maxOperations, depth: 0, &keys)
    if keys.puts == 0 || keys.puts + keys.deletes < 2 { return }
    if keys.txns == 0 && keys.puts + keys.deletes <= TxnKeyConflicts.pairwiseMax {
      if TxnKeyConflicts.existPairwise(in: request.success)
        || TxnKeyConflicts.existPairwise(in: request.failure)
      {
        throw .duplicateKey
      }
      return
    }
    var conflicts = TxnKeyConflicts(keys)
    if conflicts.exist(in: request) { throw .duplicateKey }
  }

  private static func check(
    _ request: Etcdserverpb.TxnRequest.View,
    maxOperations: Int,
    depth: Int,
    _ keys: inout TxnKeyCount
  ) throws(StoreError) {
    let used = max(request.compare.count, request.success.count, request.failure.count)
    if used > maxOperations || depth > txnDepthMax { throw .tooManyOperations }
    for compare in request.compare where compare.key.isEmpty { throw .keyNotProvided }
    let rest = maxOperations - used
    try check(request.success, maxOperations: rest, depth: depth, &keys)
    try check(request.failure, maxOperations: rest, depth: depth, &keys)
  }

  private static func check(
    _ operations: RepeatedView<Etcdserverpb.RequestOp.View>,
    maxOperations: Int,
    depth: Int,
    _ keys: inout TxnKeyCount
  ) throws(StoreError) {
    for operation in operations {
      switch operation.request {
      case .requestRange(let range): try check(range)
      case .requestPut(let put):
        try check(put)
        keys.puts += 1
      case .requestDeleteRange(let delete):
        try check(delete)
        keys.deletes += 1
      case .requestTxn(let nested):
        keys.txns += 1
        try check(nested, maxOperations: maxOperations, depth: depth + 1, &keys)
      case nil: throw .keyNotFound
      }
    }
  }

  /// Whether the txn, nested ones included, can write nothing whichever branches it takes. Such a
  /// txn is a read and needs no log entry.
  package static func isReadOnly(_ request: Etcdserverpb.TxnRequest.View) -> Bool {
    isReadOnly(request.success) && isReadOnly(request.failure)
  }

  private static func isReadOnly(
    _ operations: RepeatedView<Etcdserverpb.RequestOp.View>
  ) -> Bool {
    for operation in operations {
      switch operation.request {
      case .requestRange, nil: continue
      case .requestPut, .requestDeleteRange: return false
      case .requestTxn(let nested): if !isReadOnly(nested) { return false }
      }
    }
    return true
  }

  /// Whether a read-only txn may be answered from this member alone: it has ranges, and each of
  /// them says so. One of compares alone is linearizable.
  package static func isSerializable(_ request: Etcdserverpb.TxnRequest.View) -> Bool {
    var ranges = 0
    return allRangesSerializable(request, &ranges) && ranges > 0
  }

  private static func allRangesSerializable(
    _ request: Etcdserverpb.TxnRequest.View,
    _ ranges: inout Int
  ) -> Bool {
    allRangesSerializable(request.success, &ranges)
      && allRangesSerializable(request.failure, &ranges)
  }

  private static func allRangesSerializable(
    _ operations: RepeatedView<Etcdserverpb.RequestOp.View>,
    _ ranges: inout Int
  ) -> Bool {
    for operation in operations {
      switch operation.request {
      case .requestRange(let range):
        if !range.serializable { return false }
        ranges += 1
      case .requestTxn(let nested):
        if !allRangesSerializable(nested, &ranges) { return false }
      case .requestPut, .requestDeleteRange, nil: return false
      }
    }
    return true
  }
}

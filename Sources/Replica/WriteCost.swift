package import Proto

/// What a write is going to add to the store, estimated before it is proposed: what the quota is
/// asked for. 0 for what adds nothing.
package enum WriteCost {
  /// What a pair takes beside its key and value: revisions, its place in a page, its share of the
  /// index.
  package static let pairOverheadBytes = 256
  /// What a lease takes.
  package static let leaseBytes = 64

  package static func bytes(of put: Etcdserverpb.PutRequest.View) -> Int {
    pairOverheadBytes + put.key.count + put.value.count
  }

  /// The dearer of the two branches, nested txns included.
  package static func bytes(of txn: Etcdserverpb.TxnRequest.View) -> Int {
    max(bytes(of: txn.success), bytes(of: txn.failure))
  }

  private static func bytes(of branch: RepeatedView<Etcdserverpb.RequestOp.View>) -> Int {
    var sum = 0
    for operation in branch {
      switch operation.request {
      case .requestPut(let put): sum += bytes(of: put)
      case .requestTxn(let nested): sum += bytes(of: nested)
      case .requestRange, .requestDeleteRange, nil: continue
      }
    }
    return sum
  }
}

import Proto

/// Requests with the keys that the servers know.
extension Namespace {
  func inward(_ request: inout Etcdserverpb.RangeRequest) {
    request.rangeEnd = inward(rangeEnd: request.rangeEnd)
    request.key = inward(request.key)
  }

  func inward(_ request: inout Etcdserverpb.PutRequest) {
    request.key = inward(request.key)
  }

  func inward(_ request: inout Etcdserverpb.DeleteRangeRequest) {
    request.rangeEnd = inward(rangeEnd: request.rangeEnd)
    request.key = inward(request.key)
  }

  /// With the transactions within it.
  func inward(_ request: inout Etcdserverpb.TxnRequest) {
    for place in request.compare.indices {
      request.compare[place].rangeEnd = inward(rangeEnd: request.compare[place].rangeEnd)
      request.compare[place].key = inward(request.compare[place].key)
    }
    request.success = request.success.map { inward($0) }
    request.failure = request.failure.map { inward($0) }
  }

  private func inward(_ operation: Etcdserverpb.RequestOp) -> Etcdserverpb.RequestOp {
    var operation = operation
    switch operation.request {
    case .requestRange(var request)?:
      inward(&request)
      operation.request = .requestRange(request)
    case .requestPut(var request)?:
      inward(&request)
      operation.request = .requestPut(request)
    case .requestDeleteRange(var request)?:
      inward(&request)
      operation.request = .requestDeleteRange(request)
    case .requestTxn(var request)?:
      inward(&request)
      operation.request = .requestTxn(request)
    case nil: break
    }
    return operation
  }

  /// A watch without a key is one from the first key on, as the servers have it.
  func inward(_ request: inout Etcdserverpb.WatchCreateRequest) {
    request.rangeEnd = inward(rangeEnd: request.rangeEnd)
    request.key = prefix + (request.key.isEmpty ? [0] : request.key)
  }

  func inward(_ leader: inout V3electionpb.LeaderKey) {
    leader.name = inward(leader.name)
    leader.key = inward(leader.key)
  }
}

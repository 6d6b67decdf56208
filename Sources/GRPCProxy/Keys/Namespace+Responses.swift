import Proto

/// Answers with the keys that the clients know.
extension Namespace {
  func outward(_ response: inout Etcdserverpb.RangeResponse) {
    for place in response.kvs.indices { outward(&response.kvs[place]) }
  }

  func outward(_ pair: inout Mvccpb.KeyValue) {
    pair.key = outward(pair.key)
  }

  func outward(_ response: inout Etcdserverpb.PutResponse) {
    if var pair = response.prevKV {
      outward(&pair)
      response.prevKV = pair
    }
  }

  func outward(_ response: inout Etcdserverpb.DeleteRangeResponse) {
    for place in response.prevKVs.indices { outward(&response.prevKVs[place]) }
  }

  func outward(_ response: inout Etcdserverpb.TxnResponse) {
    response.responses = response.responses.map { outward($0) }
  }

  private func outward(_ answer: Etcdserverpb.ResponseOp) -> Etcdserverpb.ResponseOp {
    var answer = answer
    switch answer.response {
    case .responseRange(var response)?:
      outward(&response)
      answer.response = .responseRange(response)
    case .responsePut(var response)?:
      outward(&response)
      answer.response = .responsePut(response)
    case .responseDeleteRange(var response)?:
      outward(&response)
      answer.response = .responseDeleteRange(response)
    case .responseTxn(var response)?:
      outward(&response)
      answer.response = .responseTxn(response)
    case nil: break
    }
    return answer
  }

  func outward(_ event: inout Mvccpb.Event) {
    if var pair = event.kv {
      outward(&pair)
      event.kv = pair
    }
    if var pair = event.prevKV {
      outward(&pair)
      event.prevKV = pair
    }
  }

  /// Keys outside of the namespace are not told of.
  func outward(_ response: inout Etcdserverpb.LeaseTimeToLiveResponse) {
    response.keys = response.keys.filter { contains($0) }.map { outward($0) }
  }

  func outward(_ leader: inout V3electionpb.LeaderKey) {
    leader.name = outward(leader.name)
    leader.key = outward(leader.key)
  }
}

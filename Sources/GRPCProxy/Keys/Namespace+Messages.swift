import Base
import Proto

/// Whole messages, as they lie on the wire.
extension Namespace {
  /// A client's request for the servers. Throws when it cannot be decoded.
  func inward(
    _ bytes: UnsafeRawBufferPointer,
    of kind: ProxiedMethod.Kind
  ) throws(DecodeError) -> SharedBytes {
    guard !isEmpty else { return SharedBytes(copying: bytes) }
    switch kind {
    case .range, .rangeStream:
      return try rewrite(bytes) { (request: inout Etcdserverpb.RangeRequest) in inward(&request) }
    case .put:
      return try rewrite(bytes) { (request: inout Etcdserverpb.PutRequest) in inward(&request) }
    case .deleteRange:
      return try rewrite(bytes) { (request: inout Etcdserverpb.DeleteRangeRequest) in
        inward(&request)
      }
    case .txn:
      return try rewrite(bytes) { (request: inout Etcdserverpb.TxnRequest) in inward(&request) }
    case .lock:
      return try rewrite(bytes) { (request: inout V3lockpb.LockRequest) in
        request.name = prefix + request.name
      }
    case .unlock:
      return try rewrite(bytes) { (request: inout V3lockpb.UnlockRequest) in
        request.key = inward(request.key)
      }
    case .campaign, .proclaim, .leader, .observe, .resign:
      return try inwardElection(bytes, of: kind)
    case .plain, .compact, .watch, .timeToLive, .keepAlive, .memberList:
      return SharedBytes(copying: bytes)
    }
  }

  private func inwardElection(
    _ bytes: UnsafeRawBufferPointer,
    of kind: ProxiedMethod.Kind
  ) throws(DecodeError) -> SharedBytes {
    switch kind {
    case .campaign:
      return try rewrite(bytes) { (request: inout V3electionpb.CampaignRequest) in
        request.name = prefix + request.name
      }
    case .proclaim:
      return try rewrite(bytes) { (request: inout V3electionpb.ProclaimRequest) in
        request.leader.change { inward(&$0) }
      }
    case .resign:
      return try rewrite(bytes) { (request: inout V3electionpb.ResignRequest) in
        request.leader.change { inward(&$0) }
      }
    default:
      return try rewrite(bytes) { (request: inout V3electionpb.LeaderRequest) in
        request.name = prefix + request.name
      }
    }
  }

  /// A server's answer for the client. Throws when it cannot be decoded.
  func outward(
    _ bytes: UnsafeRawBufferPointer,
    of kind: ProxiedMethod.Kind
  ) throws(DecodeError) -> SharedBytes {
    guard !isEmpty else { return SharedBytes(copying: bytes) }
    switch kind {
    case .range:
      return try rewrite(bytes) { (answer: inout Etcdserverpb.RangeResponse) in outward(&answer) }
    case .rangeStream:
      return try rewrite(bytes) { (answer: inout Etcdserverpb.RangeStreamResponse) in
        answer.rangeResponse.change { outward(&$0) }
      }
    case .put:
      return try rewrite(bytes) { (answer: inout Etcdserverpb.PutResponse) in outward(&answer) }
    case .deleteRange:
      return try rewrite(bytes) { (answer: inout Etcdserverpb.DeleteRangeResponse) in
        outward(&answer)
      }
    case .txn:
      return try rewrite(bytes) { (answer: inout Etcdserverpb.TxnResponse) in outward(&answer) }
    case .timeToLive:
      return try rewrite(bytes) { (answer: inout Etcdserverpb.LeaseTimeToLiveResponse) in
        outward(&answer)
      }
    case .lock:
      return try rewrite(bytes) { (answer: inout V3lockpb.LockResponse) in
        answer.key = outward(answer.key)
      }
    case .campaign:
      return try rewrite(bytes) { (answer: inout V3electionpb.CampaignResponse) in
        answer.leader.change { outward(&$0) }
      }
    case .leader, .observe:
      return try rewrite(bytes) { (answer: inout V3electionpb.LeaderResponse) in
        answer.kv.change { outward(&$0) }
      }
    case .plain, .compact, .watch, .keepAlive, .memberList, .unlock, .proclaim, .resign:
      return SharedBytes(copying: bytes)
    }
  }

  private func rewrite<Value: Message>(
    _ bytes: UnsafeRawBufferPointer,
    _ change: (inout Value) -> Void
  ) throws(DecodeError) -> SharedBytes {
    var value = try Value(decoding: bytes)
    change(&value)
    return SharedBytes(encoding: value)
  }
}

extension SharedBytes {
  init(encoding message: some Message) {
    var writer = ByteWriter(capacity: message.encodedSize)
    message.encode(into: &writer)
    self.init(writer.takeBlock(nextCapacity: 0))
  }
}

extension Optional {
  /// Changes the value, if there is one.
  fileprivate mutating func change(_ body: (inout Wrapped) -> Void) {
    guard var value = self else { return }
    self = nil
    body(&value)
    self = value
  }
}

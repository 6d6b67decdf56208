package import Proto
import RPC

// Calls by the messages of the API as they are on the wire, for tools that show all of them.
extension Client {
  /// Makes one call of the API.
  ///
  /// `method`: Service and method in `etcdserverpb`, `KV/Range`.
  /// `isRead`: Whether it changes nothing, and may always be repeated.
  /// `endpoint`: The one endpoint that is asked, as it was given; nil any.
  /// `deadline`: How long it may take, its repetitions included; nil without end.
  package func call<Request: Message, Response: Message>(
    _ method: StaticString,
    _ request: Request,
    isRead: Bool,
    at endpoint: String? = nil,
    deadline: Duration?
  ) async throws(ClientError) -> Response {
    var scope = scope
    scope.deadline = deadline
    let path = MethodPath("/etcdserverpb.\(method)")
    let name = CallName(stringLiteral: method)
    return try await scope.call(name, isRead ? .read : .write, at: endpoint) {
      attempt async throws(RPCError) in
      try await attempt.client.unary(path, request, options: attempt.options)
    }
  }
}

extension Client {
  /// Renews a lease once; throws `leaseNotFound`.
  package func renewLease(
    _ id: Int64,
    deadline: Duration?
  ) async throws(ClientError) -> Etcdserverpb.LeaseKeepAliveResponse {
    var scope = scope
    scope.deadline = deadline
    let request = Etcdserverpb.LeaseKeepAliveRequest(id: id)
    let response = try await scope.call("Lease/LeaseKeepAlive", .repeatable) {
      attempt async throws(RPCError) in
      let call = try await LeaseClient(attempt.client).leaseKeepAlive(options: attempt.options)
      await call.send(request)
      call.finishSending()
      return try await call.response()
    }
    guard response.ttl > 0 else {
      let text = "etcdserver: requested lease not found"
      throw ClientError(.leaseNotFound, text, outcome: .refused)
    }
    return response
  }
}

extension ResponseHeader {
  /// The header as it is on the wire.
  package var message: Etcdserverpb.ResponseHeader {
    var header = Etcdserverpb.ResponseHeader()
    header.clusterID = clusterID
    header.memberID = memberID.rawValue
    header.revision = revision
    header.raftTerm = raftTerm
    return header
  }
}

extension KeyValue {
  /// The pair as it is on the wire.
  package var message: Mvccpb.KeyValue {
    Mvccpb.KeyValue(
      key: key,
      createRevision: createRevision,
      modRevision: modRevision,
      version: version,
      value: value,
      lease: lease.rawValue
    )
  }
}

extension WatchEvent {
  /// The event as it is on the wire.
  package var message: Mvccpb.Event {
    var event = Mvccpb.Event()
    event.type = kind == .put ? .put : .delete
    event.kv = keyValue.message
    event.prevKV = previous?.message
    return event
  }
}

import Base
import Proto
import RPC

/// MemberList: the proxies that have registered, as if they were the members, so that clients that ask
/// for members go on to use proxies.
extension ProxyLoop {
  func answerMemberList(_ request: Etcdserverpb.MemberListRequest, _ call: ServerCall) {
    guard !configuration.resolverPrefix.isEmpty else {
      return call.respondWithSelf(configuration, header: nil)
    }
    let key = configuration.registrationPrefix
    let range = Etcdserverpb.RangeRequest(key: key, rangeEnd: Namespace(key).end)
    let headers = upstream.headers(
      "/etcdserverpb.KV/Range",
      metadata: CallIdentity(call).metadata
    )
    let query = MemberQuery(call, configuration, prefixBytes: key.count)
    let upstreamCall = UpstreamCall(headers: headers, sink: query)
    upstreamCall.send(SharedBytes(encoding: range))
    upstreamCall.halfClose()
    upstream.start(upstreamCall)
  }
}

/// A question for the proxies that have registered.
private final class MemberQuery: UpstreamSink {
  private let call: ServerCall
  private let configuration: ProxyConfiguration
  private let prefixBytes: Int
  private var members: [Etcdserverpb.Member] = []
  private var header: Etcdserverpb.ResponseHeader?

  init(_ call: ServerCall, _ configuration: ProxyConfiguration, prefixBytes: Int) {
    self.call = call
    self.configuration = configuration
    self.prefixBytes = prefixBytes
  }

  func upstreamReceived(_ message: UnsafeRawBufferPointer) {
    guard let response = try? Etcdserverpb.RangeResponse(decoding: message) else { return }
    header = response.header
    members = response.kvs.map { pair in
      let registered = Registration(reading: pair.value)
      let fallback = String(decoding: pair.key.dropFirst(prefixBytes), as: UTF8.self)
      let address = registered?.address ?? fallback
      return Etcdserverpb.Member(name: registered?.name ?? "", clientURLs: [address])
    }
  }

  func upstreamEnded(_ end: CallEnd) {
    guard end.status == .ok else { return call.finish(end.status) }
    guard !members.isEmpty else { return call.respondWithSelf(configuration, header: header) }
    let response = Etcdserverpb.MemberListResponse(header: header, members: members)
    call.respond { response.encode(into: &$0) }
  }
}

extension ServerCall {
  /// The proxy is all there is.
  fileprivate func respondWithSelf(
    _ configuration: ProxyConfiguration,
    header: Etcdserverpb.ResponseHeader?
  ) {
    let member = Etcdserverpb.Member(
      name: configuration.hostName,
      clientURLs: [configuration.advertisedURL]
    )
    let response = Etcdserverpb.MemberListResponse(header: header, members: [member])
    respond { response.encode(into: &$0) }
  }
}

import Flags
import Membership
import NIOCore
import NIOPosix
import Proto
import RPC
import TLS

/// Calls of the discovery service, at whichever of its addresses answers. Used by one task; ends with
/// `close`.
struct RegistryClient {
  private let plan: DiscoveryPlan
  private let clients: [RPCClient]
  /// The client that answered last.
  private var place = 0
  /// What the service gave for the user and the password; empty: ask for one, or none is needed.
  private var token = ""
  private var needsLogin: Bool

  /// An answer beyond this is refused: a service that lies must not fill our memory.
  private static let answerBytesMax = 16 << 20

  /// Nothing is dialed yet. Throws what is wrong with the TLS files.
  init(_ plan: DiscoveryPlan) throws(TLSError) {
    self.plan = plan
    needsLogin = plan.user != nil
    let hasTLS = plan.urls.contains { $0.isSecure }
    let tls = hasTLS ? try ClientTLS(plan.tls) : nil
    clients = plan.urls.map { url in
      var rpc = RPCClientConfiguration()
      rpc.connectTimeout = TimeAmount(plan.settings.dialTimeout)
      rpc.messageBytesMax = Self.answerBytesMax
      if plan.settings.keepaliveTime > .zero {
        rpc.keepaliveInterval = TimeAmount(plan.settings.keepaliveTime)
        rpc.keepaliveTimeout = TimeAmount(plan.settings.keepaliveTimeout)
      }
      if let tls, url.isSecure {
        rpc.isSecure = true
        let host = url.isUnixSocket ? "" : url.host
        rpc.setup = { channel in try tls.install(on: channel, host: host) }
      }
      return RPCClient(
        address: url.isUnixSocket
          ? .unix(path: url.host) : .host(url.host, port: Int(url.port)),
        group: MultiThreadedEventLoopGroup.singleton,
        configuration: rpc
      )
    }
  }

  func close() async {
    for client in clients { await client.shutdown() }
  }

  mutating func range(
    _ request: Etcdserverpb.RangeRequest
  ) async throws(RPCError) -> Etcdserverpb.RangeResponse {
    try await call { client, options throws(RPCError) in
      try await KVClient(client).range(request, options: options)
    }
  }

  mutating func put(_ request: Etcdserverpb.PutRequest) async throws(RPCError) {
    _ = try await call { client, options throws(RPCError) in
      try await KVClient(client).put(request, options: options)
    }
  }

  /// Whether to ask again is no use: the service has understood and refused.
  static func isFinal(_ error: RPCError) -> Bool {
    switch error.code {
    case .permissionDenied, .invalidArgument, .unimplemented: true
    default: false
    }
  }

  /// Tries the addresses in turn, beginning with the one that answered last. Throws what the last one
  /// said.
  private mutating func call<Response: Sendable>(
    _ body: @Sendable (RPCClient, CallOptions) async throws(RPCError) -> Response
  ) async throws(RPCError) -> Response {
    var failure = RPCError(.unavailable("no address is known"), mayHaveBeenProcessed: false)
    for _ in clients {
      let client = clients[place]
      do throws(RPCError) {
        try await login(client)
        var options = CallOptions(timeout: TimeAmount(plan.settings.requestTimeout))
        if !token.isEmpty { options.metadata = [(name: "token", value: token)] }
        return try await body(client, options)
      } catch {
        failure = error
        guard !Self.isFinal(error) else { throw error }
        // A token that is no good any more, among other things.
        needsLogin = plan.user != nil
        place = (place + 1) % clients.count
      }
    }
    throw failure
  }

  private mutating func login(_ client: RPCClient) async throws(RPCError) {
    guard needsLogin, let user = plan.user else { return }
    let request = Etcdserverpb.AuthenticateRequest(name: user.name, password: user.password)
    let options = CallOptions(timeout: TimeAmount(plan.settings.requestTimeout))
    do throws(RPCError) {
      token = try await AuthClient(client).authenticate(request, options: options).token
    } catch {
      // Where authentication is off, everybody may write.
      guard error.code == .failedPrecondition else { throw error }
      token = ""
    }
    needsLogin = false
  }
}

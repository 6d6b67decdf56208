import Discovery
import Logging
import NIOCore
import NIOPosix
import NIOTLS
import TLS

/// Finds the endpoints by SRV records, and leaves out those that prove nothing: without
/// --insecure-discovery an endpoint must speak TLS with a certificate of the domain.
struct EndpointDiscovery {
  let domain: String
  let serviceName: String
  let acceptsInsecure: Bool
  /// Empty: the system's authorities.
  let trustedCAFile: String
  let logger: Logger
  /// As of `ServiceLookup`.
  var server = ""

  /// Throws when there are no records at all, or the file is no good.
  func endpoints() async throws -> [GatewayEndpoint] {
    let found = try await ClientServices.endpoints(
      of: domain,
      serviceName: serviceName,
      server: server
    )
    var result: [GatewayEndpoint] = []
    let tls = acceptsInsecure ? nil : try makeTLS()
    for endpoint in found {
      let record = endpoint.record
      let candidate = GatewayEndpoint(
        host: record.target,
        port: Int(record.port),
        priority: record.priority,
        weight: record.weight
      )
      if let tls, let reason = await refusal(of: candidate, endpoint.isSecure, tls) {
        logger.warning(
          "failed to validate a discovered endpoint",
          metadata: ["endpoint": "\(endpoint.url)", "error": "\(reason)"]
        )
        continue
      }
      result.append(candidate)
    }
    return result
  }

  private func makeTLS() throws -> ClientTLS {
    var settings = ClientTLSSettings()
    settings.authoritiesFile = trustedCAFile
    settings.serverName = domain
    return try ClientTLS(settings)
  }

  /// Why an endpoint is not to be trusted; nil when it is.
  private func refusal(
    of endpoint: GatewayEndpoint,
    _ isSecure: Bool,
    _ tls: ClientTLS
  ) async -> String? {
    guard isSecure else { return "the record is for connections without TLS" }
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let outcome = loop.makePromise(of: Void.self)
    let connected = ClientBootstrap(group: loop)
      .connectTimeout(Self.patience)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try tls.install(on: channel, host: endpoint.host)
          try channel.pipeline.syncOperations.addHandler(HandshakeWitness(outcome))
        }
      }
      .connect(host: endpoint.host, port: endpoint.port)
    connected.whenFailure { outcome.fail($0) }
    let timer = loop.scheduleTask(in: Self.patience) {
      outcome.fail(ChannelError.connectTimeout(Self.patience))
    }
    defer { timer.cancel() }
    var reason: String?
    do { try await outcome.futureResult.get() } catch { reason = "\(error)" }
    connected.whenSuccess { $0.close(promise: nil) }
    return reason
  }

  /// How long an endpoint may take to connect, and to finish its handshake.
  private static let patience = TimeAmount.seconds(5)
}

/// Says how a handshake ended.
private final class HandshakeWitness: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let outcome: EventLoopPromise<Void>

  init(_ outcome: EventLoopPromise<Void>) {
    self.outcome = outcome
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted? = event as? TLSUserEvent { outcome.succeed() }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    outcome.fail(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    outcome.fail(ChannelError.eof)
  }
}

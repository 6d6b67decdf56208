package import Logging
package import NIOCore
import NIOPosix
import Proto
package import RPC

/// A server of etcd's API that has no data: it passes calls on to the servers of a cluster, with watches
/// and renewals put together. All of its calls live on one event loop.
///
/// Thread-safe; `start`, then `listen`, then `stop`.
package final class GRPCProxy: Sendable {
  private let configuration: ProxyConfiguration
  private let server: RPCServer
  private let upstream: Upstream
  private let proxy: ProxyLoop
  private let registrar: Registrar?
  private let endpoints: ProxyEndpoints
  private let health = HealthStatus()
  private let logger: Logger

  /// Nothing is connected or bound yet. At least one endpoint. The group's first event loop is used.
  package init(
    configuration: ProxyConfiguration,
    endpoints: [ProxyEndpoint],
    group: any EventLoopGroup,
    logger: Logger
  ) {
    self.configuration = configuration
    self.logger = logger
    let eventLoop = group.next()
    let gate = ProxyGate()
    self.endpoints = ProxyEndpoints(gate: gate)
    server = RPCServer(
      group: eventLoop,
      configuration: configuration.server,
      httpHandler: self.endpoints
    ) { reason in
      logger.warning("connections are refused", metadata: ["reason": "\(reason)"])
    }
    upstream = Upstream(
      endpoints: endpoints.map { UpstreamEndpoint(address: $0.address, setup: $0.setup) },
      configuration: configuration.client,
      eventLoop: eventLoop,
      logger: logger
    )
    let loop = server.loops[0]
    proxy = ProxyLoop(configuration, upstream: upstream, loop: loop)
    gate.open(proxy, eventLoop)
    registrar =
      configuration.resolverPrefix.isEmpty
      ? nil : Registrar(configuration, upstream: upstream, logger: logger)
  }

  /// Registers the services, and the proxy itself where that is asked for.
  package func start() async throws {
    let (proxy, health) = (proxy, health)
    try await server.start { loop in
      loop.register(ProxyDispatcher(proxy: proxy))
      HealthResponder.register(on: loop, health)
      Reflection.register(on: loop)
    }
    registrar?.start()
  }

  /// Binds an address. Returns what was bound. Throws what the system says.
  @discardableResult
  package func listen(
    on address: RPCAddress,
    setup: RPCServer.ChannelSetup? = nil
  ) async throws -> SocketAddress? {
    var options = ListenerOptions()
    options.isSecure = setup != nil
    return try await server.listen(on: address, options: options, setup: setup)
  }

  /// Binds an address for /metrics and /health alone.
  @discardableResult
  package func listenForMetrics(on address: RPCAddress) async throws -> SocketAddress? {
    var options = ListenerOptions()
    options.servesCalls = false
    return try await server.listen(on: address, options: options)
  }

  /// Takes the registration back, lets the calls come to their ends for at most the configured time, and
  /// closes everything.
  package func stop() async {
    health.setAll(.notServing)
    await registrar?.stop()
    await server.drain(timeout: configuration.drainTimeout)
    let upstream = upstream
    try? await upstream.eventLoop.submit { upstream.shutdown() }.get()
    logger.info("the proxy has stopped")
  }
}

/// A server of the cluster that a proxy serves.
package struct ProxyEndpoint: Sendable {
  package let address: RPCAddress
  /// Encryption of connections to it; nil: none.
  package let setup: RPCServer.ChannelSetup?

  package init(address: RPCAddress, setup: RPCServer.ChannelSetup? = nil) {
    self.address = address
    self.setup = setup
  }
}

extension ProxyConfiguration {
  /// What a request may be longer than etcd's limit, for its envelope.
  private static let overheadBytes = 512 << 10
  /// As large as HTTP/2 has them: streams whose clients are slow must not keep the others from theirs.
  private static let windowBytes: UInt32 = (1 << 31) - 1
  private static let streamWindowBytes: UInt32 = 1 << 20

  var server: RPCServerConfiguration {
    var server = RPCServerConfiguration()
    server.messageBytesMax = sendBytesMax + Self.overheadBytes
    server.concurrentStreamsMax = concurrentStreamsMax
    server.keepaliveMinTime = keepaliveMinTime
    server.keepaliveInterval = keepaliveInterval
    server.keepaliveTimeout = keepaliveTimeout
    return server
  }

  var client: RPCClientConfiguration {
    var client = RPCClientConfiguration()
    client.messageBytesMax = receiveBytesMax
    client.connectTimeout = connectTimeout
    client.keepaliveInterval = upstreamKeepaliveInterval
    client.keepaliveTimeout = upstreamKeepaliveTimeout
    client.connectionWindowBytes = Self.windowBytes
    client.streamWindowBytes = Self.streamWindowBytes
    return client
  }
}

package import Logging
package import NIOCore
import NIOPosix
import Sockets
import Synchronization

/// A TCP gateway: every connection that comes in is led to one of the endpoints, byte for byte.
///
/// Thread-safe; `start` once, then `drain`.
package final class TCPGateway: Sendable {
  private struct State {
    var pool: EndpointPool
    var connections: [ObjectIdentifier: any Channel] = [:]
    var listener: (any Channel)?
    var isDraining = false
    /// Kept when the last connection closes after draining began.
    var drained: EventLoopPromise<Void>?
  }

  private let configuration: GatewayConfiguration
  private let dialer: Dialer
  private let group: any EventLoopGroup
  private let logger: Logger
  private let refusals: RefusalReport
  private let state: Mutex<State>

  package init(
    configuration: GatewayConfiguration,
    group: any EventLoopGroup,
    logger: Logger
  ) {
    precondition(!configuration.endpoints.isEmpty, "a gateway to nowhere")
    self.configuration = configuration
    self.group = group
    self.logger = logger
    refusals = RefusalReport { reason in
      logger.warning("connections are refused", metadata: ["reason": "\(reason)"])
    }
    dialer = Dialer(configuration: configuration)
    state = Mutex(State(pool: EndpointPool(configuration.endpoints)))
  }

  /// How many connections are open, those that wait for an endpoint among them.
  package var connectionCount: Int { state.withLock { $0.connections.count } }

  /// The endpoints that have failed and not been seen to work since.
  package var failedEndpoints: [GatewayEndpoint] {
    state.withLock { state in state.pool.failedPlaces.map { state.pool.endpoints[$0] } }
  }

  /// Binds the address and serves. Returns what was bound. Throws what the system says.
  @discardableResult
  package func start() async throws -> SocketAddress? {
    let hosts =
      configuration.listenHost.isEmpty
      ? ["::", "0.0.0.0"] : [ListenHost.resolved(configuration.listenHost)]
    let listener = try await bind(hosts)
    state.withLock { $0.listener = listener }
    scheduleProbes()
    logger.info(
      "ready to proxy client requests",
      metadata: [
        "address": "\(listener.localAddress?.description ?? "")",
        "endpoints": .array(configuration.endpoints.map { "\($0)" }),
      ]
    )
    return listener.localAddress
  }

  /// The first of the hosts that can be bound.
  private func bind(_ hosts: [String]) async throws -> any Channel {
    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: configuration.backlog)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .serverChannelInitializer { [refusals] channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptPause(refusals))
        }
      }
      .childChannelOption(.autoRead, value: false)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.socketOption(.so_keepalive), value: 1)
      .childChannelOption(.tcpOption(.keepIdle), value: configuration.keepaliveSeconds)
      .childChannelOption(.tcpOption(.keepInterval), value: configuration.keepaliveSeconds)
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelOption(.recvAllocator, value: configuration.receiveAllocator)
      .childChannelOption(.writeBufferWaterMark, value: configuration.waterMark)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try self.accept(channel) }
      }
    for host in hosts.dropLast() {
      if let channel = try? await bootstrap.bind(host: host, port: configuration.listenPort).get() {
        return channel
      }
    }
    return try await bootstrap.bind(host: hosts[hosts.count - 1], port: configuration.listenPort)
      .get()
  }

  /// Stops to accept, lets the connections come to their ends for at most the configured time, then
  /// closes what is left.
  package func drain() async {
    let (listener, open) = state.withLock { state in
      state.isDraining = true
      defer { state.listener = nil }
      return (state.listener, state.connections.count)
    }
    // A listener that is closed already is as good.
    try? await listener?.close().get()
    logger.info("draining", metadata: ["connections": .stringConvertible(open)])
    let loop = group.next()
    let promise = loop.makePromise(of: Void.self)
    let isIdle = state.withLock { state in
      state.drained = promise
      return state.connections.isEmpty
    }
    if isIdle { promise.succeed() }
    let timer = loop.scheduleTask(in: configuration.drainTimeout) {
      let left = self.state.withLock { Array($0.connections.values) }
      for channel in left { channel.close(promise: nil) }
    }
    // The promise does not fail.
    try? await promise.futureResult.get()
    timer.cancel()
  }

  // MARK: Connections

  private func accept(_ channel: any Channel) throws {
    let isWelcome = state.withLock { state in
      guard !state.isDraining, state.connections.count < configuration.connectionsMax else {
        return false
      }
      state.connections[ObjectIdentifier(channel)] = channel
      return true
    }
    guard isWelcome else {
      refusals.note("there are \(configuration.connectionsMax) already")
      throw ChannelError.inappropriateOperationForState
    }
    channel.closeFuture.whenComplete { _ in self.forget(channel) }
    let end = NIOLoopBoundBox<RelayHandler?>(nil, eventLoop: channel.eventLoop)
    let handler = RelayHandler(lingerTimeout: configuration.lingerTimeout) {
      guard let handler = end.value else { return }
      end.value = nil
      self.lead(handler, on: channel.eventLoop, tried: [])
    }
    end.value = handler
    try channel.pipeline.syncOperations.addHandler(handler)
  }

  private func forget(_ channel: any Channel) {
    let drained = state.withLock { state -> EventLoopPromise<Void>? in
      state.connections[ObjectIdentifier(channel)] = nil
      guard state.connections.isEmpty else { return nil }
      defer { state.drained = nil }
      return state.drained
    }
    drained?.succeed()
  }

  /// Connects an accepted connection, of which nothing was read yet, to the endpoint whose turn it
  /// is, and to the next ones while that fails.
  private func lead(_ client: RelayHandler, on eventLoop: any EventLoop, tried: Set<Int>) {
    var random = SystemRandomNumberGenerator()
    let place = state.withLock { $0.pool.pick(except: tried, using: &random) }
    guard client.isOpen, let place else { return client.close() }
    let upstream = NIOLoopBound(
      RelayHandler(lingerTimeout: configuration.lingerTimeout),
      eventLoop: eventLoop
    )
    let client = NIOLoopBound(client, eventLoop: eventLoop)
    dialer.connect(to: configuration.endpoints[place], on: eventLoop) { channel in
      try channel.pipeline.syncOperations.addHandler(upstream.value)
    }.hop(to: eventLoop).assumeIsolated().whenComplete { result in
      switch result {
      case .success:
        self.noteWorking(place)
        guard client.value.isOpen else { return upstream.value.close() }
        RelayHandler.join(client.value, upstream.value)
      case .failure(let error):
        if error.isShortageHere {
          self.refusals.note("\(error)")
        } else {
          self.noteFailed(place, error)
        }
        self.lead(client.value, on: eventLoop, tried: tried.union([place]))
      }
    }
  }

  // MARK: Endpoints

  private func noteFailed(_ place: Int, _ error: any Error) {
    guard state.withLock({ $0.pool.markFailed(place) }) else { return }
    logger.warning(
      "deactivated endpoint",
      metadata: [
        "address": "\(configuration.endpoints[place])",
        "interval": "\(configuration.retryDelay)",
        "error": "\(error)",
      ]
    )
  }

  private func noteWorking(_ place: Int) {
    guard state.withLock({ $0.pool.markWorking(place) }) else { return }
    logger.info("activated", metadata: ["address": "\(configuration.endpoints[place])"])
  }

  /// Looks at the endpoints that have failed, again and again, until draining begins.
  private func scheduleProbes() {
    group.next().scheduleTask(in: configuration.retryDelay) {
      guard !self.state.withLock({ $0.isDraining }) else { return }
      self.probe()
      self.scheduleProbes()
    }
  }

  private func probe() {
    for place in state.withLock({ $0.pool.failedPlaces }) {
      dialer.connect(to: configuration.endpoints[place], on: group.next()) { _ in }
        .whenSuccess { channel in
          channel.close(promise: nil)
          self.noteWorking(place)
        }
    }
  }
}

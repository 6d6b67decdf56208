import Glibc
package import NIOCore
import NIOPosix
import Sockets
import Synchronization

/// Where a server listens, or a client connects to.
package enum RPCAddress: Sendable, Hashable, CustomStringConvertible {
  case host(String, port: Int)
  case unix(path: String)

  package var description: String {
    switch self {
    case .host(let host, let port):
      host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path):
      "unix:\(path)"
    }
  }
}

/// Listening sockets, with one `RPCServerLoop` for each event loop of the group. A connection speaks
/// gRPC over HTTP/2, plain HTTP/2 or HTTP/1.1, as its client chooses.
///
/// Thread-safe; `start`, then `listen` any number of times, then `drain`.
package final class RPCServer: Sendable {
  /// Puts what belongs between the socket and HTTP into the channel's pipeline, such as TLS. Called
  /// on the channel's loop before any byte is read.
  package typealias ChannelSetup = @Sendable (any Channel) throws -> Void

  package let configuration: RPCServerConfiguration
  /// One for each event loop of the group.
  package let loops: [RPCServerLoop]

  private let httpHandler: (any HTTPHandler)?
  private let group: any EventLoopGroup
  private let loopsByEventLoop: [ObjectIdentifier: RPCServerLoop]
  private let listeners = Mutex<[any Channel]>([])
  private let connectionCount = Atomic<Int>(0)
  private let refusals: RefusalReport

  /// Makes the loops; nothing is bound yet. `httpHandler` answers the requests that are not gRPC.
  /// `onRefusal` is told why connections are not taken, once a minute while that is so.
  package init(
    group: any EventLoopGroup,
    configuration: RPCServerConfiguration = RPCServerConfiguration(),
    httpHandler: (any HTTPHandler)? = nil,
    onRefusal: @escaping @Sendable (_ reason: String) -> Void = { _ in }
  ) {
    self.group = group
    refusals = RefusalReport(onRefusal)
    self.configuration = configuration
    self.httpHandler = httpHandler
    loops = group.makeIterator().map { eventLoop in
      RPCServerLoop(eventLoop: eventLoop, configuration: configuration)
    }
    loopsByEventLoop = Dictionary(
      uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.eventLoop), $0) }
    )
  }

  /// Runs `setUp` on each loop, for the registration of its services. Call once, before `listen`.
  package func start(_ setUp: @escaping @Sendable (RPCServerLoop) -> Void) async throws {
    for loop in loops {
      try await loop.eventLoop.submit { setUp(loop) }.get()
    }
  }

  /// Binds a socket and accepts connections on it; port 0 lets the system choose. `setup` runs for
  /// each new channel, for TLS. Returns the address that was bound. Throws what the system says, as
  /// an `IOError`, when the address cannot be bound.
  @discardableResult
  package func listen(
    on address: RPCAddress,
    options: ListenerOptions = ListenerOptions(),
    setup: ChannelSetup? = nil
  ) async throws
    -> SocketAddress?
  {
    let role = ListenerRole(options, shared: httpHandler)
    var bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: configuration.backlog)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .serverChannelInitializer { [refusals] channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptPause(refusals))
        }
      }
      .childChannelOption(.maxMessagesPerRead, value: 4)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try self.accept(channel, role, setup) }
      }
    if options.reusesPort, case .host = address {
      bootstrap = bootstrap.serverChannelOption(
        .socketOption(NIOBSDSocket.Option(rawValue: SO_REUSEPORT)),
        value: 1
      )
    }
    let listener: any Channel
    switch address {
    case .host(let host, let port):
      listener =
        try await bootstrap
        .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
        .bind(host: ListenHost.resolved(host), port: port).get()
    case .unix(let path):
      listener =
        try await bootstrap
        .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
    }
    listeners.withLock { $0.append(listener) }
    return listener.localAddress
  }

  /// Stops to accept, lets what runs come to its end for at most `timeout`, then closes everything.
  package func drain(timeout: TimeAmount) async {
    let listeners = listeners.withLock { channels in
      defer { channels = [] }
      return channels
    }
    // A listener that is closed already is as good.
    for listener in listeners { try? await listener.close().get() }
    let ends = loops.map { loop in loop.eventLoop.flatSubmit { loop.drain(timeout: timeout) } }
    // The futures of `drain` do not fail.
    for end in ends { try? await end.get() }
    let closed = loops.map { loop in loop.eventLoop.submit { loop.closeLoopbacks() } }
    for end in closed { try? await end.get() }
  }

  /// The counters of all loops together.
  package func counters() async -> RPCCounters {
    var sum = RPCCounters()
    for loop in loops {
      guard let counters = try? await loop.eventLoop.submit({ loop.counters }).get() else {
        continue
      }
      sum.add(counters)
    }
    return sum
  }

  private func accept(_ channel: any Channel, _ role: ListenerRole, _ setup: ChannelSetup?) throws {
    guard let loop = loopsByEventLoop[ObjectIdentifier(channel.eventLoop)] else {
      throw ChannelError.operationUnsupported
    }
    let count = connectionCount.add(1, ordering: .relaxed).newValue
    channel.closeFuture.whenComplete { _ in
      self.connectionCount.subtract(1, ordering: .relaxed)
    }
    guard count <= configuration.connectionsMax else {
      refusals.note("there are \(configuration.connectionsMax) already")
      throw ChannelError.inappropriateOperationForState
    }
    try setup?(channel)
    try channel.pipeline.syncOperations.addHandler(ProtocolDetector(loop: loop, listener: role))
  }

  /// Serves calls on a socket that is connected already to this process itself, on the event loop of
  /// `loop`. Takes the socket over, also when it fails.
  ///
  /// Such calls come from the server's own code: `ServerCall.isLoopback` says so, no bound that is
  /// there for strangers holds for them, and they go on while the server drains.
  package func attach(
    connectedSocket: NIOBSDSocket.Handle,
    on loop: RPCServerLoop
  ) -> EventLoopFuture<Void> {
    ClientBootstrap(group: loop.eventLoop)
      .channelOption(.maxMessagesPerRead, value: 4)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            ProtocolDetector(loop: loop, listener: .loopback)
          )
        }
      }
      .withConnectedSocket(connectedSocket)
      .map { _ in }
  }
}

import NIOCore
import NIOPosix
import Sockets

/// Connects to endpoints.
struct Dialer: Sendable {
  let configuration: GatewayConfiguration

  /// A connection that reads nothing before it is told to; `initialize` adds its handlers.
  func connect(
    to endpoint: GatewayEndpoint,
    on eventLoop: any EventLoop,
    initialize: @escaping @Sendable (any Channel) throws -> Void
  ) -> EventLoopFuture<any Channel> {
    let bootstrap = ClientBootstrap(group: eventLoop)
      .connectTimeout(configuration.connectTimeout)
      .channelOption(.autoRead, value: false)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.socketOption(.so_keepalive), value: 1)
      .channelOption(.tcpOption(.keepIdle), value: configuration.keepaliveSeconds)
      .channelOption(.tcpOption(.keepInterval), value: configuration.keepaliveSeconds)
      .channelOption(.maxMessagesPerRead, value: 1)
      .channelOption(.recvAllocator, value: configuration.receiveAllocator)
      .channelOption(.writeBufferWaterMark, value: configuration.waterMark)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try initialize(channel) }
      }
    // A literal address needs no resolver.
    if let address = try? SocketAddress(ipAddress: endpoint.host, port: endpoint.port) {
      return bootstrap.connect(to: address)
    }
    return bootstrap.connect(host: endpoint.host, port: endpoint.port)
  }
}

extension Error {
  /// Whether an attempt to connect failed because this machine had nothing left for it: no endpoint
  /// is to blame.
  var isShortageHere: Bool {
    switch self {
    case let error as IOError: error.isShortage
    case let error as NIOConnectionError:
      error.connectionErrors.contains { $0.error.isShortageHere }
    default: false
    }
  }
}

extension GatewayConfiguration {
  private static let readBytesMin = 1 << 10
  private static let readBytesInitial = 4 << 10

  var receiveAllocator: any RecvByteBufferAllocator {
    AdaptiveRecvByteBufferAllocator(
      minimum: Self.readBytesMin,
      initial: Self.readBytesInitial,
      maximum: readBytesMax
    )
  }

  var waterMark: ChannelOptions.Types.WriteBufferWaterMark {
    .init(low: bufferedBytesLow, high: bufferedBytesHigh)
  }
}

import NIOCore
import NIOHTTP1

/// Looks at the first bytes of a connection: HTTP/2's preface leads to gRPC, anything else to
/// HTTP/1.1. Confined to the connection's event loop.
final class ProtocolDetector: ChannelInboundHandler, RemovableChannelHandler, DrainableConnection {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  /// The start of the preface that no HTTP/1.1 request has.
  private static let preface = [UInt8]("PRI * HTTP/2.0".utf8)

  private let loop: RPCServerLoop
  private let listener: ListenerRole
  private var peerCommonName: String?
  private var gathered = ByteBuffer()
  private var timeout: Scheduled<Void>?
  private var channel: (any Channel)?

  init(loop: RPCServerLoop, listener: ListenerRole) {
    self.loop = loop
    self.listener = listener
  }

  func handlerAdded(context: ChannelHandlerContext) {
    let channel = context.channel
    self.channel = channel
    loop.enter(self, channel)
    timeout = context.eventLoop.scheduleTask(in: loop.configuration.firstBytesTimeout) {
      channel.close(promise: nil)
    }
  }

  var isLoopback: Bool { listener.isLoopback }

  func drain() {
    closeNow()
  }

  func closeNow() {
    channel?.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    timeout?.cancel()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let identity = event as? PeerIdentity {
      peerCommonName = identity.commonName
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    gathered.writeBuffer(&bytes)
    let seen = gathered.readableBytesView.prefix(Self.preface.count)
    guard Self.preface.starts(with: seen) else {
      hand(context, isHTTP2: false)
      return
    }
    if seen.count == Self.preface.count { hand(context, isHTTP2: true) }
  }

  private func hand(_ context: ChannelHandlerContext, isHTTP2: Bool) {
    timeout?.cancel()
    let peer = context.channel.remoteAddress.map(Self.text) ?? ""
    let pipeline = context.pipeline.syncOperations
    do {
      if isHTTP2 {
        try pipeline.addHandler(
          ServerConnection.start(
            on: loop,
            channel: context.channel,
            listener: listener,
            peer: peer,
            peerCommonName: peerCommonName
          )
        )
      } else {
        try pipeline.configureHTTPServerPipeline(
          withPipeliningAssistance: true,
          // The handler below knows whether an answer is under way.
          withErrorHandling: false
        )
        try pipeline.addHandler(HTTP1Handler(loop: loop, listener: listener, peer: peer))
      }
    } catch {
      context.close(promise: nil)
      return
    }
    loop.leave(self)
    let bytes = gathered
    gathered = ByteBuffer()
    context.fireChannelRead(wrapInboundOut(bytes))
    pipeline.removeHandler(context: context, promise: nil)
  }

  private static func text(_ address: SocketAddress) -> String {
    guard let ip = address.ipAddress, let port = address.port else {
      return address.pathname.map { "unix:\($0)" } ?? ""
    }
    return ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
  }
}

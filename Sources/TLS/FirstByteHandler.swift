import NIOCore

/// On a socket that is plain and TLS at a time: looks at the first byte of a connection and puts TLS
/// into its pipeline if a handshake begins. Confined to the event loop.
final class FirstByteHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  /// The type of a TLS record of a handshake; nothing that speaks HTTP begins with it.
  private static let handshakeRecord: UInt8 = 0x16

  private let tls: ServerTLS
  private let identity: @Sendable (String) -> any Sendable

  init(tls: ServerTLS, identity: @escaping @Sendable (String) -> any Sendable) {
    self.tls = tls
    self.identity = identity
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = unwrapInboundIn(data)
    guard let first = bytes.readableBytesView.first else { return }
    let pipeline = context.pipeline.syncOperations
    if first == Self.handshakeRecord {
      let (handler, gate) = tls.makeHandlers(identity: identity)
      do {
        try pipeline.addHandlers([handler, gate], position: .after(self))
      } catch {
        context.close(promise: nil)
        return
      }
    }
    context.fireChannelRead(data)
    pipeline.removeHandler(context: context, promise: nil)
  }
}

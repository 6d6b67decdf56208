import NIOCore

/// One end of a relayed connection: what its socket brings goes to the partner's.
///
/// Both ends live on one event loop. A partner whose socket takes no more stops the reads here; an end
/// of the bytes is passed on as one, and so is a close, each behind the bytes before it.
final class RelayHandler: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let lingerTimeout: TimeAmount
  /// Called once, when the channel is open.
  private var onActive: (() -> Void)?
  private var context: ChannelHandlerContext?
  private var partner: RelayHandler?
  /// The channel wants to read, and the partner cannot take it.
  private var hasHeldRead = false
  /// What came when there was no partner yet: when the other end has said its last, the channel reads
  /// what there is without being asked to. No more than the system's buffer of the socket.
  private var early: [NIOAny] = []
  /// The other end has said its last.
  private var hasInputEnded = false
  /// The partner is gone: what comes is for nobody.
  private var isOrphan = false

  init(lingerTimeout: TimeAmount, onActive: (() -> Void)? = nil) {
    self.lingerTimeout = lingerTimeout
    self.onActive = onActive
  }

  /// Joins two open ends; their bytes flow from now on.
  static func join(_ one: RelayHandler, _ other: RelayHandler) {
    one.partner = other
    other.partner = one
    for end in [one, other] {
      end.passEarly()
      guard let channel = end.context?.channel else { continue }
      // Reads by itself from now on. It cannot fail on an open channel, and a closed one is told of.
      _ = channel.setOption(.autoRead, value: true)
    }
  }

  /// Whether the socket is still there.
  var isOpen: Bool { context?.channel.isActive ?? false }

  func close() {
    context?.close(promise: nil)
  }

  // MARK: The socket's events

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    onActive = nil
  }

  func channelActive(context: ChannelHandlerContext) {
    let callback = onActive
    onActive = nil
    callback?()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let partner else {
      if context.channel.isActive, !isOrphan { early.append(data) }
      return
    }
    partner.context?.write(data, promise: nil)
  }

  private func passEarly() {
    guard let partner else { return }
    for data in early { partner.context?.write(data, promise: nil) }
    if !early.isEmpty { partner.context?.flush() }
    early = []
    if hasInputEnded { partner.finish(.output) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    partner?.context?.flush()
  }

  func read(context: ChannelHandlerContext) {
    guard let partner else { return context.read() }
    if partner.context?.channel.isWritable ?? true {
      context.read()
    } else {
      hasHeldRead = true
    }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { partner?.resumeReading() }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case .inputClosed? = event as? ChannelEvent else { return }
    hasInputEnded = true
    partner?.finish(.output)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    let partner = partner
    self.partner = nil
    self.context = nil
    onActive = nil
    partner?.partner = nil
    partner?.isOrphan = true
    partner?.finish(.all)
  }

  // MARK: From the partner

  private func resumeReading() {
    guard hasHeldRead else { return }
    hasHeldRead = false
    context?.read()
  }

  /// Closes when what was written has left.
  private func finish(_ mode: CloseMode) {
    guard let context else { return }
    let channel = context.channel
    if mode == .all {
      // Nobody is there for what this end still says.
      let timer = channel.eventLoop.scheduleTask(in: lingerTimeout) {
        channel.close(promise: nil)
      }
      channel.closeFuture.whenComplete { _ in timer.cancel() }
      resumeReading()
    }
    let written = channel.eventLoop.makePromise(of: Void.self)
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
    written.futureResult.whenComplete { _ in channel.close(mode: mode, promise: nil) }
  }
}

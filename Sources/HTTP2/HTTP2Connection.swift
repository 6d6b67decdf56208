package import NIOCore

/// An HTTP/2 connection as the last handler of a channel's pipeline: bytes of the socket on one
/// side, a delegate on the other. Confined to the channel's event loop.
///
/// Frames gather in one buffer, which is written once per turn of reading or of the event loop.
/// While the socket takes nothing, nothing is framed: bodies wait in their streams' buffers.
package final class HTTP2Connection: ChannelInboundHandler {
  package typealias InboundIn = ByteBuffer
  package typealias OutboundOut = ByteBuffer

  let role: HTTP2Role
  let configuration: HTTP2Configuration
  private var delegate: (any HTTP2Delegate)?
  /// nil before the start and after the end.
  private(set) var session: HTTP2Session?
  private var context: ChannelHandlerContext?
  var eventLoop: (any EventLoop)?
  private var output = ByteBuffer()
  private var isInTurn = false
  private var isFlushing = false
  private var isFlushScheduled = false
  private var isWritable = true
  private var isClosing = false
  private var timer: Scheduled<Void>?
  private var timerDeadline = NIODeadline.distantFuture

  /// The output buffer that a connection keeps while it is idle.
  static let outputBytesKept = 8 << 10
  /// The output buffer when there is more to send.
  static let outputBytesMax = 64 << 10

  /// The connection keeps its delegate until after `connectionClosed`. It starts when it is added to
  /// an active channel, or when its channel becomes active.
  package init(
    role: HTTP2Role,
    configuration: HTTP2Configuration = .default,
    delegate: any HTTP2Delegate
  ) {
    self.role = role
    self.configuration = configuration
    self.delegate = delegate
  }

  package func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    eventLoop = context.eventLoop
    if context.channel.isActive { start(context) }
  }

  package func channelActive(context: ChannelHandlerContext) {
    start(context)
    context.fireChannelActive()
  }

  private func start(_ context: ChannelHandlerContext) {
    guard let delegate else { return }
    self.delegate = nil
    isWritable = context.channel.isWritable
    session = HTTP2Session(
      role: role,
      configuration: configuration,
      delegate: delegate,
      now: context.eventLoop.now
    )
    pull()
  }

  package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let session, !isClosing else { return }
    isInTurn = true
    let now = context.eventLoop.now
    unwrapInboundIn(data).withUnsafeReadableBytes { session.receive($0, now: now) }
  }

  package func channelReadComplete(context: ChannelHandlerContext) {
    if isInTurn {
      session?.turnEnded()
      isInTurn = false
      pull()
    }
    context.fireChannelReadComplete()
  }

  package func channelWritabilityChanged(context: ChannelHandlerContext) {
    isWritable = context.channel.isWritable
    if isWritable { pull() }
    context.fireChannelWritabilityChanged()
  }

  package func channelInactive(context: ChannelHandlerContext) {
    end(.peerClosed)
    context.fireChannelInactive()
  }

  package func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // The socket is of no more use; what it was is in the channel's own reports.
    context.close(promise: nil)
  }

  package func handlerRemoved(context: ChannelHandlerContext) {
    end(.peerClosed)
    self.context = nil
  }

  /// Writes what is waiting, at the end of the read turn if one is under way, else in the next tick
  /// of the event loop. Every method that sends calls it; so it need not be called.
  package func flush() {
    guard !isInTurn, !isFlushing, !isFlushScheduled, let eventLoop else { return }
    isFlushScheduled = true
    eventLoop.assumeIsolatedUnsafeUnchecked().execute {
      self.isFlushScheduled = false
      self.pull()
    }
  }

  /// Writes what is waiting now; for the end of a batch of answers from another thread. Inside a
  /// read turn the end of the turn does it.
  package func flushNow() {
    guard !isInTurn else { return }
    pull()
  }

  /// Frames and writes until nothing is left or the socket takes no more.
  private func pull() {
    guard let session, let context, !isFlushing, !session.isReceiving, !session.isProducing else {
      return
    }
    isFlushing = true
    let now = context.eventLoop.now
    var room = Self.outputBytesKept
    while session.isDirty || session.isOutputFull, isWritable || session.ending != nil {
      output.clear(minimumCapacity: room)
      let written = output.writeWithUnsafeMutableBytes(minimumWritableBytes: room) {
        session.produce(into: $0, now: now)
      }
      if written > 0 { context.writeAndFlush(wrapOutboundOut(output), promise: nil) }
      session.deliverWritable()
      if session.isOutputFull { room = Self.outputBytesMax }
    }
    if room > Self.outputBytesKept { output = ByteBuffer() }
    isFlushing = false
    if session.isFinished && (!session.isDirty || session.ending != nil) {
      finish()
    } else {
      scheduleTimer()
    }
  }

  /// Everything is said: closes our direction, lets the peer read it, then closes the socket.
  private func finish() {
    guard !isClosing, let session, let context else { return }
    isClosing = true
    timer?.cancel()
    timer = nil
    session.close(.finished)
    self.session = nil
    closeChannel(in: configuration.lastWriteTimeout)
    let closed = context.eventLoop.makePromise(of: Void.self)
    closed.futureResult.assumeIsolatedUnsafeUnchecked().whenComplete { _ in
      self.closeChannel(in: self.configuration.lingerTimeout)
    }
    context.close(mode: .output, promise: closed)
  }

  private func closeChannel(in time: TimeAmount) {
    guard let context else { return }
    timer?.cancel()
    timer = context.eventLoop.assumeIsolatedUnsafeUnchecked().scheduleTask(in: time) {
      self.context?.close(promise: nil)
    }
  }

  /// The channel is gone.
  private func end(_ reason: HTTP2CloseReason) {
    isClosing = true
    timer?.cancel()
    timer = nil
    guard let session else {
      // Never started: there is only the end to tell of.
      let unstarted = delegate
      delegate = nil
      unstarted?.connectionClosed(reason)
      return
    }
    guard !session.isReceiving, !session.isProducing else {
      // A delegate closed the channel from within a call of nghttp2, which must return first.
      eventLoop?.assumeIsolatedUnsafeUnchecked().execute { self.end(reason) }
      return
    }
    session.close(reason)
    self.session = nil
  }

  /// Wakes at the session's next deadline. The timer is left alone while deadlines only move later.
  private func scheduleTimer() {
    guard let session, let eventLoop, !isClosing, let next = session.nextDeadline else { return }
    guard timer == nil || next < timerDeadline else { return }
    timer?.cancel()
    timerDeadline = next
    timer = eventLoop.assumeIsolatedUnsafeUnchecked().scheduleTask(deadline: next) {
      self.timer = nil
      guard let session = self.session else { return }
      session.timePassed(now: eventLoop.now)
      self.pull()
      self.scheduleTimer()
    }
  }
}

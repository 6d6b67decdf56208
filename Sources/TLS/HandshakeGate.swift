import NIOCore
import NIOSSL
import NIOTLS

/// Stands behind TLS until the handshake is done: closes a connection whose client takes too long
/// over it or is not welcome, and removes itself from the others. Confined to the event loop.
///
/// Before the handshake is done a connection holds no more than TLS itself lets a peer send: the
/// library bounds handshake messages, and nothing is read that it does not consume.
final class HandshakeGate: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private let handler: NIOSSLServerHandler
  private let check: ClientCheck
  private let identity: (@Sendable (String) -> any Sendable)?
  private let log: RefusalLog
  private var timeout: Scheduled<Void>?
  /// The connection is being closed: whatever comes is thrown away.
  private var isRefused = false

  init(
    handler: NIOSSLServerHandler,
    check: ClientCheck,
    identity: (@Sendable (String) -> any Sendable)?,
    log: RefusalLog
  ) {
    self.handler = handler
    self.check = check
    self.identity = identity
    self.log = log
  }

  func handlerAdded(context: ChannelHandlerContext) {
    let channel = context.channel
    let log = log
    timeout = context.eventLoop.scheduleTask(in: ServerTLS.handshakeTimeout) {
      log.refused(channel, "the handshake took too long")
      channel.close(promise: nil)
    }
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    timeout?.cancel()
    timeout = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    timeout?.cancel()
    timeout = nil
    context.fireChannelInactive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard !isRefused, case .handshakeCompleted = event as? TLSUserEvent else {
      context.fireUserInboundEventTriggered(event)
      return
    }
    timeout?.cancel()
    timeout = nil
    do {
      let name = try check.check(
        handler.peerCertificate,
        from: context.channel.remoteAddress?.ipAddress,
        now: SystemTime.seconds()
      )
      if let name, let identity { context.fireUserInboundEventTriggered(identity(name)) }
      context.fireUserInboundEventTriggered(event)
      context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    } catch {
      isRefused = true
      log.refused(context.channel, error.reason)
      context.close(promise: nil)
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    // Nothing comes before the handshake is done.
    guard !isRefused else { return }
    context.fireChannelRead(data)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if !isRefused {
      isRefused = true
      if FailureText.isDeparture(error) {
        log.departed(context.channel)
      } else {
        log.refused(context.channel, FailureText.text(error))
      }
    }
    context.close(promise: nil)
  }
}

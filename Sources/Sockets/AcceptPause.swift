package import NIOCore

/// For the pipeline of a listening socket. When the system has nothing left to accept a connection with,
/// those that come wait in its queue for a second: tried again at once, it would only keep the event loop
/// busy.
package final class AcceptPause: ChannelInboundHandler {
  package typealias InboundIn = any Channel

  private static let pause = TimeAmount.seconds(1)

  private let refusals: RefusalReport

  package init(_ refusals: RefusalReport) {
    self.refusals = refusals
  }

  package func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard let error = error as? IOError, error.isShortage else {
      context.fireErrorCaught(error)
      return
    }
    refusals.note("\(error)")
    // Not by reads that are held back, as SwiftNIO's own handler does it: a read that has failed is
    // still wanted, and tried again. The option cannot fail on an open channel.
    let channel = context.channel
    _ = channel.setOption(.autoRead, value: false)
    channel.eventLoop.scheduleTask(in: Self.pause) {
      _ = channel.setOption(.autoRead, value: true)
    }
  }
}

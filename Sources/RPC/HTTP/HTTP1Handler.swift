import NIOCore
import NIOHTTP1

/// Serves plain HTTP/1.1 on one connection, one request at a time. Confined to its event loop.
final class HTTP1Handler: ChannelInboundHandler, DrainableConnection {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private enum State {
    case idle
    case readingBody(HTTPRequestHead, [UInt8])
    /// The body is too long: the rest of it is thrown away, then the client is told.
    case skippingBody(HTTPRequestHead)
    case answering(Task<Void, Never>)
  }

  private let loop: RPCServerLoop
  private let configuration: RPCServerConfiguration
  private let handler: (any HTTPHandler)?
  private let peer: String
  private let isSecure: Bool
  private var state = State.idle
  private var timeout: Scheduled<Void>?
  private var channel: (any Channel)?

  init(loop: RPCServerLoop, listener: ListenerRole, peer: String) {
    self.loop = loop
    configuration = loop.configuration
    handler = listener.httpHandler
    isSecure = listener.isSecure
    self.peer = peer
  }

  func drain() {
    if case .idle = state { closeNow() }
  }

  func closeNow() {
    channel?.close(promise: nil)
  }

  func handlerAdded(context: ChannelHandlerContext) {
    channel = context.channel
    loop.enter(self, context.channel)
    // The first request is under way: its first bytes chose this handler.
    startTimeout(context, configuration.requestArrivalTimeout)
  }

  func channelInactive(context: ChannelHandlerContext) {
    timeout?.cancel()
    if case .answering(let task) = state { task.cancel() }
    state = .idle
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      startTimeout(context, configuration.requestArrivalTimeout)
      state = .readingBody(head, [])
      if head.headers["expect"].contains(where: { $0.lowercased() == "100-continue" }) {
        let go = HTTPResponseHead(version: head.version, status: .continue)
        context.writeAndFlush(wrapOutboundOut(.head(go)), promise: nil)
      }
    case .body(let bytes):
      guard case .readingBody(let head, var body) = state else { return }
      state = .idle
      if body.count + bytes.readableBytes > configuration.httpBodyBytesMax {
        state = .skippingBody(head)
      } else {
        body.append(contentsOf: bytes.readableBytesView)
        state = .readingBody(head, body)
      }
    case .end:
      timeout?.cancel()
      timeout = nil
      answerRequest(context)
    }
  }

  private func answerRequest(_ context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    switch state {
    case .idle, .answering:
      context.close(promise: nil)
    case .skippingBody(let head):
      let sink = HTTP1Sink(channel: context.channel, head: head) { Self.finished(bound, $0) }
      state = .idle
      sink.sendNow(status: 413, headers: [("content-length", "0")], body: [])
    case .readingBody(let head, let body):
      let sink = HTTP1Sink(channel: context.channel, head: head) { Self.finished(bound, $0) }
      guard let handler else {
        state = .idle
        sink.sendNow(status: 404, headers: [("content-length", "0")], body: [])
        return
      }
      let request = HTTPRequest(
        method: head.method.rawValue,
        target: head.uri,
        headers: head.headers.map { ($0.name.lowercased(), $0.value) },
        body: body,
        peer: peer,
        isSecure: isSecure
      )
      state = .answering(answer(request, with: handler, to: sink))
    }
  }

  /// An answer has been written; on the loop.
  private static func finished(
    _ bound: NIOLoopBound<(HTTP1Handler, ChannelHandlerContext)>,
    _ keepAlive: Bool
  ) {
    let (handler, context) = bound.value
    handler.state = .idle
    if keepAlive, !handler.loop.isDraining {
      handler.startTimeout(context, handler.configuration.httpIdleTimeout)
    } else {
      context.close(promise: nil)
    }
  }

  private func startTimeout(_ context: ChannelHandlerContext, _ amount: TimeAmount) {
    timeout?.cancel()
    let channel = context.channel
    timeout = context.eventLoop.scheduleTask(in: amount) { channel.close(promise: nil) }
  }
}

/// Answers one HTTP/1.1 request.
struct HTTP1Sink: HTTPSink {
  let channel: any Channel
  let head: HTTPRequestHead
  /// Called on the loop when the answer is out, with whether the connection may be kept.
  let onFinish: @Sendable (Bool) -> Void

  func send(
    status: Int,
    headers: [(name: String, value: String)],
    body: [UInt8]?
  ) async throws {
    try await channel.eventLoop.flatSubmit {
      sendNow(status: status, headers: headers, body: body)
    }.get()
  }

  func write(_ bytes: [UInt8]) async throws {
    try Task.checkCancellation()
    guard !bytes.isEmpty, head.method != .HEAD else { return }
    let part = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: bytes)))
    try await channel.writeAndFlush(part).get()
  }

  func end() async throws {
    try await channel.eventLoop.flatSubmit { end(after: channel.eventLoop) }.get()
  }

  func abort() {
    channel.close(promise: nil)
  }

  /// The whole answer when there is a body, else its head. On the loop only.
  @discardableResult
  func sendNow(
    status: Int,
    headers: [(name: String, value: String)],
    body: [UInt8]?
  ) -> EventLoopFuture<Void> {
    var fields = HTTPHeaders(headers)
    if !head.isKeepAlive { fields.replaceOrAdd(name: "connection", value: "close") }
    let response = HTTPResponseHead(
      version: head.version,
      status: HTTPResponseStatus(statusCode: status),
      headers: fields
    )
    channel.write(HTTPServerResponsePart.head(response), promise: nil)
    guard let body else {
      channel.flush()
      return channel.eventLoop.makeSucceededVoidFuture()
    }
    if !body.isEmpty, head.method != .HEAD {
      let part = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: body)))
      channel.write(part, promise: nil)
    }
    return end(after: channel.eventLoop)
  }

  private func end(after eventLoop: any EventLoop) -> EventLoopFuture<Void> {
    let keepAlive = head.isKeepAlive
    let onFinish = onFinish
    return channel.writeAndFlush(HTTPServerResponsePart.end(nil)).map { onFinish(keepAlive) }
  }
}

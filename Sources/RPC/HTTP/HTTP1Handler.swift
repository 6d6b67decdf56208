import NIOCore
import NIOHTTP1

/// Serves plain HTTP/1.1 on one connection, one request at a time. Confined to its event loop.
final class HTTP1Handler: ChannelDuplexHandler, DrainableConnection {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  private enum State {
    case idle
    case readingBody(HTTPRequestHead, [UInt8])
    /// The body is too long: the rest of it is thrown away, then the client is told.
    case skippingBody(HTTPRequestHead)
    case answering(Task<Void, Never>)
    /// The answer goes out while the request comes in.
    case exchanging(Task<Void, Never>, HTTPRequestBody)
    /// The answer is out before its request has ended: the rest of that is thrown away. To close at
    /// once would reset the connection, and the client would lose the answer.
    case lingering
  }

  private let loop: RPCServerLoop
  private let configuration: RPCServerConfiguration
  private let handler: (any HTTPHandler)?
  private let peer: String
  private let isSecure: Bool
  private var state = State.idle
  private var timeout: Scheduled<Void>?
  private var channel: (any Channel)?
  /// Of the body that is being exchanged.
  private var unreadBytes = 0
  private var isReadHeld = false

  init(loop: RPCServerLoop, listener: ListenerRole, peer: String) {
    self.loop = loop
    configuration = loop.configuration
    handler = listener.httpHandler
    isSecure = listener.isSecure
    self.peer = peer
  }

  func drain() {
    switch state {
    case .idle, .lingering: closeNow()
    case .readingBody, .skippingBody, .answering, .exchanging: break
    }
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
    switch state {
    case .answering(let task):
      task.cancel()
    case .exchanging(let task, let body):
      task.cancel()
      body.end()
    case .idle, .readingBody, .skippingBody, .lingering:
      break
    }
    state = .idle
    context.fireChannelInactive()
  }

  /// What cannot be read is said to be a bad request, unless it has an answer already.
  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    switch state {
    case .idle, .readingBody, .skippingBody:
      guard error is HTTPParserError else { break }
      let fields = HTTPHeaders([("connection", "close"), ("content-length", "0")])
      let head = HTTPResponseHead(version: .http1_1, status: .badRequest, headers: fields)
      context.write(wrapOutboundOut(.head(head)), promise: nil)
      context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    case .answering, .exchanging, .lingering:
      break
    }
    context.close(promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      startTimeout(context, configuration.requestArrivalTimeout)
      if !startExchange(context, head) { state = .readingBody(head, []) }
      if head.headers["expect"].contains(where: { $0.lowercased() == "100-continue" }) {
        let go = HTTPResponseHead(version: head.version, status: .continue)
        context.writeAndFlush(wrapOutboundOut(.head(go)), promise: nil)
      }
    case .body(let bytes):
      if case .exchanging(_, let body) = state {
        timeout?.cancel()
        unreadBytes += bytes.readableBytes
        body.append(Array(bytes.readableBytesView))
        return
      }
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
    case .exchanging(let task, let body):
      body.end()
      state = .answering(task)
    case .idle, .answering, .lingering:
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
      state = .answering(answer(request(head, body), with: handler, to: sink))
    }
  }

  private func request(_ head: HTTPRequestHead, _ body: [UInt8]) -> HTTPRequest {
    HTTPRequest(
      method: head.method.rawValue,
      target: head.uri,
      headers: head.headers.map { ($0.name.lowercased(), $0.value) },
      body: body,
      peer: peer,
      isSecure: isSecure
    )
  }

  /// Begins to answer a request by its head, if that is how it is to be answered.
  private func startExchange(_ context: ChannelHandlerContext, _ head: HTTPRequestHead) -> Bool {
    var request = request(head, [])
    guard let handler, handler.answersWhileReading(method: request.method, path: request.path)
    else { return false }
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    let loop = context.eventLoop
    let body = HTTPRequestBody { count in
      loop.execute { Self.wereRead(bound, count) }
    }
    request.arriving = body
    let sink = HTTP1Sink(channel: context.channel, head: head) { Self.finished(bound, $0) }
    unreadBytes = 0
    state = .exchanging(answer(request, with: handler, to: sink), body)
    return true
  }

  /// The reader of a body has taken some of it; on the loop.
  private static func wereRead(
    _ bound: NIOLoopBound<(HTTP1Handler, ChannelHandlerContext)>,
    _ count: Int
  ) {
    let (handler, context) = bound.value
    handler.unreadBytes = max(0, handler.unreadBytes - count)
    handler.readOn(context)
  }

  private func readOn(_ context: ChannelHandlerContext) {
    guard isReadHeld, unreadBytes < HTTPRequestBody.unreadBytesHigh else { return }
    isReadHeld = false
    context.read()
  }

  func read(context: ChannelHandlerContext) {
    if unreadBytes < HTTPRequestBody.unreadBytesHigh {
      context.read()
    } else {
      isReadHeld = true
    }
  }

  /// An answer has been written; on the loop.
  private static func finished(
    _ bound: NIOLoopBound<(HTTP1Handler, ChannelHandlerContext)>,
    _ keepAlive: Bool
  ) {
    let (handler, context) = bound.value
    handler.unreadBytes = 0
    if case .exchanging(_, let body) = handler.state {
      body.end()
      return handler.linger(context)
    }
    handler.state = .idle
    if keepAlive, !handler.loop.isDraining {
      handler.readOn(context)
      handler.startTimeout(context, handler.configuration.httpIdleTimeout)
    } else {
      context.close(promise: nil)
    }
  }

  /// How long the rest of a request that has its answer is read.
  private static let lingerTimeout = TimeAmount.seconds(5)

  private func linger(_ context: ChannelHandlerContext) {
    state = .lingering
    readOn(context)
    context.close(mode: .output, promise: nil)
    startTimeout(context, Self.lingerTimeout)
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

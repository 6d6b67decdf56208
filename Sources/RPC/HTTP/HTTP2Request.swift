import Base
import HTTP2
import NIOCore

/// What a call slot holds while it serves a plain HTTP request over HTTP/2.
final class HTTP2RequestState {
  let method: String
  private let bodyBytesMax: Int
  private var body = ByteWriter(capacity: 16)
  private(set) var isTooLarge = false
  var task: Task<Void, Never>?
  /// The body, when the request is answered while it arrives.
  var arriving: HTTPRequestBody?
  /// Bytes of it whose credit the client gets back when they are read.
  var unreadBytes = 0
  /// Waits until the client has taken enough.
  private var writable: EventLoopPromise<Void>?

  init(method: String, bodyBytesMax: Int) {
    self.method = method
    self.bodyBytesMax = bodyBytesMax
  }

  func take(_ bytes: UnsafeRawBufferPointer) {
    guard !isTooLarge else { return }
    if body.count + bytes.count > bodyBytesMax {
      isTooLarge = true
      body = ByteWriter(capacity: 16)
    } else {
      body.append(bytes)
    }
  }

  func takeBody() -> [UInt8] {
    let bytes = [UInt8](body.bytes)
    body = ByteWriter(capacity: 16)
    return bytes
  }

  /// A future for when more may be written. One writer at a time: an earlier waiter fails.
  func whenWritable(on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
    writable?.fail(HTTPClientGone())
    let promise = eventLoop.makePromise(of: Void.self)
    writable = promise
    return promise.futureResult
  }

  func becameWritable() {
    writable?.succeed()
    writable = nil
  }

  func clientGone() {
    task?.cancel()
    arriving?.end()
    writable?.fail(HTTPClientGone())
    writable = nil
  }
}

extension ServerConnection {
  /// Hands a plain request to the HTTP handler by its head, if that is how it is to be answered.
  func startExchange(_ slot: CallSlot) {
    let target = slot.metadata.value(named: ":path").map { String($0) } ?? ""
    let path = target.prefix { $0 != "?" }
    guard let state = slot.http, let handler = listener.httpHandler,
      handler.answersWhileReading(method: state.method, path: String(path))
    else { return }
    let (loop, id) = (loop, slot.id)
    state.arriving = HTTPRequestBody { count in
      loop.eventLoop.execute {
        guard let slot = loop.knownSlot(id), let state = slot.http, let stream = slot.stream else {
          return
        }
        state.unreadBytes -= count
        slot.connection?.http2?.consume(stream, count)
      }
    }
    answerPlain(slot)
  }

  /// Hands a plain request that is complete, or answered as it arrives, to the HTTP handler.
  func answerPlain(_ slot: CallSlot) {
    guard let state = slot.http, let handler = listener.httpHandler else { return }
    slot.phase = .httpAnswer
    let sink = HTTP2Sink(loop: loop, id: slot.id, isHead: state.method == "HEAD")
    guard !state.isTooLarge else {
      sink.sendNow(status: 413, headers: [], body: [])
      return
    }
    let target = slot.metadata.value(named: ":path").map { String($0) } ?? ""
    let host = slot.metadata.value(named: ":authority").map { String($0) } ?? authority
    let headers = slot.metadata.entries.filter { !$0.name.hasPrefix(":") }
    var request = HTTPRequest(
      method: state.method,
      target: target,
      headers: [("host", host)] + headers,
      body: state.takeBody(),
      peer: peer,
      isSecure: listener.isSecure
    )
    request.arriving = state.arriving
    state.task = answer(request, with: handler, to: sink)
  }
}

/// Answers one plain request over HTTP/2. Every step hops to the loop and finds the stream by id.
struct HTTP2Sink: HTTPSink {
  let loop: RPCServerLoop
  let id: CallID
  let isHead: Bool

  func send(
    status: Int,
    headers: [(name: String, value: String)],
    body: [UInt8]?
  ) async throws {
    try await loop.eventLoop.submit { () throws -> Void in
      guard sendNow(status: status, headers: headers, body: body) else { throw HTTPClientGone() }
    }.get()
  }

  func write(_ bytes: [UInt8]) async throws {
    try Task.checkCancellation()
    try await loop.eventLoop.flatSubmit { () -> EventLoopFuture<Void> in
      guard let (slot, stream, connection) = target, let state = slot.http else {
        return loop.eventLoop.makeFailedFuture(HTTPClientGone())
      }
      if !isHead { connection.http2?.write(stream, SharedBytes(bytes)) }
      return stream.isWritable
        ? loop.eventLoop.makeSucceededVoidFuture() : state.whenWritable(on: loop.eventLoop)
    }.get()
  }

  func end() async throws {
    try await loop.eventLoop.submit {
      guard let (slot, stream, connection) = target else { throw HTTPClientGone() }
      loop.closeSlot(slot)
      connection.http2?.endStream(stream)
    }.get()
  }

  func abort() {
    loop.eventLoop.execute {
      guard let (slot, stream, connection) = target else { return }
      loop.closeSlot(slot)
      connection.http2?.reset(stream, errorCode: ServerConnection.cancelCode)
    }
  }

  /// The whole answer when there is a body, else its head. On the loop only. False when the client
  /// is gone.
  @discardableResult
  func sendNow(status: Int, headers: [(name: String, value: String)], body: [UInt8]?) -> Bool {
    guard let (slot, stream, connection) = target, let http2 = connection.http2 else {
      return false
    }
    let block = HeaderBlock([(name: ":status", value: String(status))] + headers)
    slot.sentHeaders = true
    guard let body else {
      http2.sendHeaders(stream, block, endStream: false)
      return true
    }
    loop.closeSlot(slot)
    guard !body.isEmpty, !isHead else {
      http2.sendHeaders(stream, block, endStream: true)
      return true
    }
    http2.sendHeaders(stream, block, endStream: false)
    http2.write(stream, SharedBytes(body))
    http2.endStream(stream)
    return true
  }

  private var target: (CallSlot, HTTP2Stream, ServerConnection)? {
    guard let slot = loop.knownSlot(id), slot.phase == .httpAnswer, let stream = slot.stream,
      let connection = slot.connection
    else { return nil }
    return (slot, stream, connection)
  }
}

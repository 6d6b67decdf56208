import Base
import HTTP2
import NIOCore
import NIOPosix

/// An HTTP/2 client that sends exactly what a test says and notes exactly what comes back.
final class RawClient: HTTP2Delegate, @unchecked Sendable {
  // Sendable: everything but the `async` functions runs on the event loop.

  struct Answer: Sendable {
    var headers: [String: String] = [:]
    var trailers: [String: String] = [:]
    var body: [UInt8] = []
    var isTrailersOnly = false
    var resetCode: UInt32?

    /// `grpc-status`, wherever it stood.
    var status: String? { trailers["grpc-status"] ?? headers["grpc-status"] }
    var message: String? { trailers["grpc-message"] ?? headers["grpc-message"] }
    var text: String { String(decoding: body, as: UTF8.self) }
  }

  private let eventLoop: any EventLoop
  private var http2: HTTP2Connection?
  private var answers: [Int32: Answer] = [:]
  private var fields: [String: String] = [:]
  private var waiters: [Int32: CheckedContinuation<Answer, Never>] = [:]

  private init(_ eventLoop: any EventLoop) {
    self.eventLoop = eventLoop
  }

  static func connect(port: Int) async throws -> RawClient {
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let client = RawClient(eventLoop)
    try await ClientBootstrap(group: eventLoop)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let http2 = HTTP2Connection(
            role: .client,
            configuration: HTTP2Configuration(),
            delegate: client
          )
          client.http2 = http2
          try channel.pipeline.syncOperations.addHandler(http2)
        }
      }
      .connect(host: "127.0.0.1", port: port).map { _ in }.get()
    return client
  }

  /// The headers of a call as a well-behaved client sends them, with changes.
  static func headers(
    _ path: String,
    _ changes: [String: String] = [:]
  ) -> [(name: String, value: String)] {
    var changes = changes
    var fields: [(name: String, value: String)] = [
      (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
      ("content-type", "application/grpc"), ("te", "trailers"),
    ]
    for index in fields.indices {
      if let value = changes.removeValue(forKey: fields[index].name) { fields[index].value = value }
    }
    return fields.filter { $0.value != "-" } + changes.sorted { $0.key < $1.key }.map { ($0, $1) }
  }

  static func frame(_ message: [UInt8], flag: UInt8 = 0) -> [UInt8] {
    [flag] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: message.count >> $0) } + message
  }

  /// Sends a request in pieces, each flushed by itself, and waits for the stream's end.
  func call(
    _ headers: [(name: String, value: String)],
    _ pieces: [[UInt8]],
    endStream: Bool = true
  ) async -> Answer {
    await withCheckedContinuation { continuation in
      eventLoop.execute {
        guard let http2 = self.http2,
          let stream = http2.openStream(HeaderBlock(headers), endStream: false)
        else {
          continuation.resume(returning: Answer())
          return
        }
        self.answers[stream.id] = Answer()
        self.waiters[stream.id] = continuation
        self.send(pieces[...], on: stream.id, endStream: endStream)
      }
    }
  }

  private func send(_ pieces: ArraySlice<[UInt8]>, on id: Int32, endStream: Bool) {
    guard let http2, let stream = http2.stream(withID: id) else { return }
    guard let piece = pieces.first else {
      if endStream { http2.endStream(stream) }
      return
    }
    http2.write(stream) { writer in piece.withUnsafeBytes { writer.append($0) } }
    http2.flushNow()
    eventLoop.execute { self.send(pieces.dropFirst(), on: id, endStream: endStream) }
  }

  func close() async {
    try? await eventLoop.submit { self.http2?.closeNow(errorCode: 0) }.get()
  }

  func headerField(
    _ stream: HTTP2Stream,
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) {
    fields[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
  }

  func headersComplete(_ stream: HTTP2Stream, kind: HTTP2HeadersKind, endStream: Bool) {
    if kind == .trailers {
      answers[stream.id]?.trailers = fields
    } else {
      answers[stream.id]?.headers = fields
      answers[stream.id]?.isTrailersOnly = endStream
    }
    fields = [:]
  }

  func dataReceived(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer) {
    answers[stream.id]?.body.append(contentsOf: bytes)
    http2?.consume(stream, bytes.count)
  }

  func endOfStream(_ stream: HTTP2Stream) {
    finish(stream.id)
  }

  func streamClosed(_ stream: HTTP2Stream, errorCode: UInt32) {
    answers[stream.id]?.resetCode = errorCode
    finish(stream.id)
  }

  private func finish(_ id: Int32) {
    guard let answer = answers.removeValue(forKey: id) else { return }
    waiters.removeValue(forKey: id)?.resume(returning: answer)
  }

  func streamWritable(_ stream: HTTP2Stream) {}
  func turnEnded() {}
  func goAwayReceived(lastStreamID: Int32, errorCode: UInt32) {}

  func connectionClosed(_ reason: HTTP2CloseReason) {
    http2 = nil
  }
}

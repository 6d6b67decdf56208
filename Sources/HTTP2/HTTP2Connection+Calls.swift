package import Base
import NIOCore

// What the delegate may ask for: `HTTP2Session`'s calls, each followed by `flush`.
extension HTTP2Connection {
  /// Outgoing bytes of body that are not framed yet, of all streams.
  package var bufferedBytes: Int { session?.bufferedBytes ?? 0 }

  /// Streams that are open.
  package var liveStreamCount: Int { session?.liveStreamCount ?? 0 }

  /// The stream of this number while it is open.
  package func stream(withID id: Int32) -> HTTP2Stream? { session?.stream(withID: id) }

  /// Opens a stream (client). nil when the peer allows no more, or the connection is ending.
  package func openStream(_ headers: HeaderBlock, endStream: Bool) -> HTTP2Stream? {
    defer { flush() }
    return session?.openStream(headers, endStream: endStream)
  }

  /// Sends response headers (server); with `endStream` they are the whole answer.
  package func sendHeaders(_ stream: HTTP2Stream, _ headers: HeaderBlock, endStream: Bool) {
    session?.sendHeaders(stream, headers, endStream: endStream)
    flush()
  }

  /// Appends bytes to the stream's body by way of its outgoing buffer. `body` may change only
  /// what it appends itself, and is not called for a closed stream.
  package func write(_ stream: HTTP2Stream, _ body: (inout ByteWriter) -> Void) {
    session?.write(stream, body)
    flush()
  }

  /// Appends bytes to the stream's body.
  package func write(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer) {
    session?.write(stream, bytes)
    flush()
  }

  /// Appends bytes to the stream's body; large ones by reference.
  package func write(_ stream: HTTP2Stream, _ bytes: SharedBytes) {
    session?.write(stream, bytes)
    flush()
  }

  /// Appends a block to the stream's body; a large one by reference.
  package func write(_ stream: HTTP2Stream, _ block: ByteBlock) {
    write(stream, SharedBytes(block, 0..<block.count))
  }

  /// Ends the response with trailers, after what is buffered.
  package func sendTrailers(_ stream: HTTP2Stream, _ trailers: HeaderBlock) {
    session?.sendTrailers(stream, trailers)
    flush()
  }

  /// Ends our half after what is buffered, without trailers.
  package func endStream(_ stream: HTTP2Stream) {
    session?.endStream(stream)
    flush()
  }

  /// A unary answer in one go: headers, the body that `body` writes, trailers. `body` is not called
  /// when the stream is closed or has been answered.
  package func respond(
    _ stream: HTTP2Stream,
    headers: HeaderBlock,
    trailers: HeaderBlock,
    _ body: (inout ByteWriter) -> Void
  ) {
    session?.respond(stream, headers: headers, trailers: trailers, body)
    flush()
  }

  /// Ends the stream with an error; what is buffered is lost.
  package func reset(_ stream: HTTP2Stream, errorCode: UInt32) {
    session?.reset(stream, errorCode: errorCode)
    flush()
  }

  /// Gives `count` received bytes back to the peer's windows.
  package func consume(_ stream: HTTP2Stream, _ count: Int) {
    guard let session else { return }
    session.consume(stream, count)
    if session.isDirty { flush() }
  }

  /// Ends the connection without harm to calls: GOAWAY in two steps, then streams run out. How long
  /// that may take is the caller's to say, with `closeNow`.
  package func shutdownGracefully() {
    guard let eventLoop else { return }
    session?.shutdownGracefully(now: eventLoop.now)
    flush()
  }

  /// Ends the connection now: a GOAWAY with this code, then the socket is closed. Open streams are
  /// lost.
  package func closeNow(errorCode: UInt32 = 0) {
    session?.closeNow(errorCode: errorCode)
    flush()
  }
}

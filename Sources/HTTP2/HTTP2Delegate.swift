/// What a block of header fields is.
package enum HTTP2HeadersKind: Sendable {
  /// Opens a stream at the server.
  case request
  /// The final response, at the client.
  case response
  /// A 1xx response before the final one, at the client.
  case informational
  /// The fields after the body.
  case trailers
}

/// A way to wear out a peer, for which a connection is cut off.
package enum HTTP2Abuse: Sendable, Equatable {
  /// Streams opened and reset, or made to be reset, faster than the budget allows.
  case resets
  /// Too many frames that carry nothing.
  case controlFrames
  /// PINGs more often than the keepalive policy allows.
  case pings
  /// A header block in too many pieces.
  case continuations
  /// The peer makes us answer and does not read the answers.
  case unreadAnswers
}

/// Why a connection ended.
package enum HTTP2CloseReason: Sendable, Equatable {
  /// A graceful shutdown, ours or the peer's, ran to its end.
  case finished
  /// The peer closed the socket, or it broke.
  case peerClosed
  /// `closeNow` was called with this error code.
  case closedLocally(errorCode: UInt32)
  /// The peer broke the protocol.
  case protocolError
  /// The peer was cut off.
  case abuse(HTTP2Abuse)
  /// No preface or no SETTINGS within the handshake timeout.
  case handshakeTimeout
  /// No answer to our PING.
  case keepaliveTimeout
  /// nghttp2 is out of memory or in a state it cannot leave.
  case internalError
}

/// Receives what happens on a connection. All calls come on the connection's event loop, and may
/// call the connection's methods. Memory passed in is valid only during the call.
package protocol HTTP2Delegate: AnyObject {
  /// One header field, pseudo headers too, in the order of the wire.
  func headerField(
    _ stream: HTTP2Stream,
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  )

  /// All fields of a block have been handed over. `endOfStream` follows if `endStream`.
  func headersComplete(_ stream: HTTP2Stream, kind: HTTP2HeadersKind, endStream: Bool)

  /// A piece of body. It counts against the peer's window until `consume` gives it back.
  func dataReceived(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer)

  /// The peer has finished its half. Called once per stream unless it is closed before.
  func endOfStream(_ stream: HTTP2Stream)

  /// The stream is gone; the object will be reused for another. Called exactly once for each stream
  /// that was opened or of which a header field was handed over.
  func streamClosed(_ stream: HTTP2Stream, errorCode: UInt32)

  /// The outgoing buffer fell below the low mark after it had reached the high one.
  func streamWritable(_ stream: HTTP2Stream)

  /// Everything that one read of the socket brought has been handed over.
  func turnEnded()

  /// The peer takes no new streams; those above `lastStreamID` get `streamClosed` next.
  func goAwayReceived(lastStreamID: Int32, errorCode: UInt32)

  /// The last call. `streamClosed` has been called for all streams.
  func connectionClosed(_ reason: HTTP2CloseReason)
}

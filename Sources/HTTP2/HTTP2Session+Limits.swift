internal import CNghttp2
import NIOCore

// Who wears us out is cut off: one GOAWAY, then the socket is closed.
extension HTTP2Session {
  /// A frame's header has come. All but DATA and HEADERS take a token. (Frames of unknown types, and
  /// DATA for closed streams, are skipped by nghttp2 without a call: they cost the peer more.)
  @inline(__always)
  func frameBegan(type: UInt8) -> Int32 {
    if type > UInt8(NGHTTP2_HEADERS.rawValue) {
      controlFrameBegan(type)
    } else if continuationCount > 0 {
      continuationCount = 0
    }
    return 0
  }

  private func controlFrameBegan(_ type: UInt8) {
    takeControlToken()
    guard type == UInt8(NGHTTP2_CONTINUATION.rawValue) else { return }
    continuationCount += 1
    if continuationCount > configuration.continuationsMax { cutOff(.continuations) }
  }

  /// nghttp2 refused a frame and resets its stream, or will end the connection.
  func invalidFrameReceived() -> Int32 {
    takeResetToken()
    return 0
  }

  func takeControlToken(_ count: Int = 1) {
    guard ending == nil else { return }
    if !controlFrames.take(count, now: now) { cutOff(.controlFrames) }
  }

  func takeResetToken() {
    guard ending == nil else { return }
    if !resets.take(now: now) { cutOff(.resets) }
  }

  /// Answers that the peer does not read fill nghttp2's queue. Two frames per stream, its headers
  /// and trailers, are not counted: streams have a limit of their own.
  func checkBacklog() {
    guard ending == nil else { return }
    let queued = nghttp2_session_get_outbound_queue_size(handle) - 2 * liveCount
    guard queued * Self.queuedFrameBytes > configuration.outboundBufferedBytesMax else { return }
    cutOff(.unreadAnswers)
  }

  func cutOff(_ abuse: HTTP2Abuse, debug: StaticString = "") {
    fail(.abuse(abuse), errorCode: NGHTTP2_ENHANCE_YOUR_CALM.rawValue, debug: debug)
  }

  /// Ends the connection: a GOAWAY if the peer should hear why, and nothing else from now on.
  func fail(_ reason: HTTP2CloseReason, errorCode: UInt32? = nil, debug: StaticString = "") {
    guard ending == nil else { return }
    ending = reason
    isDirty = true
    guard let errorCode else { return }
    nghttp2_submit_goaway(
      handle,
      UInt8(NGHTTP2_FLAG_NONE.rawValue),
      nghttp2_session_get_last_proc_stream_id(handle),
      errorCode,
      debug.utf8CodeUnitCount == 0 ? nil : debug.utf8Start,
      debug.utf8CodeUnitCount
    )
  }

  /// `nghttp2_session_mem_recv` gave up.
  func receiveFailed(_ code: Int32) {
    switch nghttp2_error(code) {
    case NGHTTP2_ERR_FLOODED:
      cutOff(.unreadAnswers)
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
      cutOff(.continuations)
    case NGHTTP2_ERR_NOMEM, NGHTTP2_ERR_CALLBACK_FAILURE:
      fail(.internalError)
    default:
      fail(.protocolError, errorCode: NGHTTP2_PROTOCOL_ERROR.rawValue)
    }
  }

  /// nghttp2 found an error, has its GOAWAY queued and takes nothing more in.
  func libraryStopped() {
    guard liveCount > 0 || !isGoAwayReceived else { return }
    if case .draining = shutdown, liveCount == 0 { return }
    fail(.protocolError)
  }
}

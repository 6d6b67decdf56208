package import Base
internal import CNghttp2

// What a delegate asks for. Nothing leaves before `produce`. Each call on a stream that is closed
// by now is dropped: its end and the delegate's call crossed.
extension HTTP2Session {
  /// Opens a stream (client). nil when the peer allows no more, or the connection is ending.
  package func openStream(_ headers: HeaderBlock, endStream: Bool) -> HTTP2Stream? {
    guard role == .client, ending == nil, !isGoAwayReceived, case .running = shutdown,
      liveCount
        < Int(
          nghttp2_session_get_remote_settings(handle, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        )
    else { return nil }
    let state = openStream(0)
    let id: Int32
    if endStream {
      id = nghttp2_submit_request(handle, nil, headers.fields, headers.count, nil, state)
    } else {
      dataProvider.pointee.source.ptr = UnsafeMutableRawPointer(state)
      id = nghttp2_submit_request(handle, nil, headers.fields, headers.count, dataProvider, state)
    }
    guard id > 0 else {
      // Stream numbers have run out, or the fields are not ones a request can have.
      closeStream(state, errorCode: NGHTTP2_REFUSED_STREAM.rawValue)
      return nil
    }
    isDirty = true
    state.pointee.id = id
    state.pointee.headersOwner = headers.owner
    state.pointee.flags.formUnion([.announced, .headersSent])
    if endStream { state.pointee.flags.insert(.localEnded) }
    return state.pointee.object.takeUnretainedValue()
  }

  /// Sends response headers (server); with `endStream` they are the whole answer.
  package func sendHeaders(_ stream: HTTP2Stream, _ headers: HeaderBlock, endStream: Bool) {
    let state = stream.state
    guard canSend(state), !state.pointee.flags.contains(.headersSent) else { return }
    state.pointee.flags.insert(.headersSent)
    state.pointee.headersOwner = headers.owner
    let id = state.pointee.id
    guard endStream else {
      submitResponse(state, headers)
      return
    }
    state.pointee.flags.insert(.localEnded)
    isDirty = true
    sentSincePing = true
    let result = nghttp2_submit_response(handle, id, headers.fields, headers.count, nil)
    if result != 0 {
      submitReset(id, NGHTTP2_INTERNAL_ERROR.rawValue)
    } else {
      stopRequest(state)
    }
  }

  /// Appends bytes to the stream's body by way of its outgoing buffer. `body` may change only
  /// what it appends itself, and is not called for a closed stream.
  package func write(_ stream: HTTP2Stream, _ body: (inout ByteWriter) -> Void) {
    guard beginWrite(stream) else { return }
    let before = stream.state.pointee.outgoing.count
    body(&stream.state.pointee.outgoing)
    endWrite(stream, stream.state.pointee.outgoing.count - before)
  }

  /// Appends bytes to the stream's body.
  package func write(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer) {
    write(stream) { $0.append(bytes) }
  }

  /// Appends bytes to the stream's body; large ones by reference.
  package func write(_ stream: HTTP2Stream, _ bytes: SharedBytes) {
    guard beginWrite(stream) else { return }
    stream.state.pointee.append(bytes)
    wrote(stream.state, bytes.count)
  }

  private func beginWrite(_ stream: HTTP2Stream) -> Bool {
    guard canSend(stream.state) else { return false }
    stream.state.pointee.sealIfLarge()
    return true
  }

  private func endWrite(_ stream: HTTP2Stream, _ added: Int) {
    precondition(added >= 0, "the writer lost \(-added) bytes that were not the caller's")
    stream.state.pointee.bufferedBytes += added
    wrote(stream.state, added)
  }

  private func wrote(_ state: UnsafeMutablePointer<StreamState>, _ added: Int) {
    bufferedTotal += added
    if state.pointee.bufferedBytes >= configuration.streamBufferedBytesHigh {
      state.pointee.flags.insert(.aboveHigh)
    }
    if added > 0 { resume(state) }
  }

  /// Ends the response with trailers, after what is buffered.
  package func sendTrailers(_ stream: HTTP2Stream, _ trailers: HeaderBlock) {
    let state = stream.state
    guard canSend(state), state.pointee.flags.contains(.headersSent) else { return }
    state.pointee.trailers = trailers
    state.pointee.flags.insert(.localEnded)
    resume(state)
  }

  /// Ends our half after what is buffered, without trailers.
  package func endStream(_ stream: HTTP2Stream) {
    let state = stream.state
    guard canSend(state), state.pointee.flags.contains(.headersSent) else { return }
    state.pointee.flags.insert(.localEnded)
    resume(state)
  }

  /// A unary answer in one go: headers, the body that `body` writes, trailers. `body` is not called
  /// when the stream is closed or has been answered.
  package func respond(
    _ stream: HTTP2Stream,
    headers: HeaderBlock,
    trailers: HeaderBlock,
    _ body: (inout ByteWriter) -> Void
  ) {
    guard beginResponse(stream) else { return }
    let before = stream.state.pointee.outgoing.count
    body(&stream.state.pointee.outgoing)
    endResponse(
      stream,
      headers,
      trailers,
      added: stream.state.pointee.outgoing.count - before
    )
  }

  private func beginResponse(_ stream: HTTP2Stream) -> Bool {
    canSend(stream.state) && !stream.state.pointee.flags.contains(.headersSent)
  }

  private func endResponse(
    _ stream: HTTP2Stream,
    _ headers: HeaderBlock,
    _ trailers: HeaderBlock,
    added: Int
  ) {
    precondition(added >= 0, "the writer lost \(-added) bytes that were not the caller's")
    let state = stream.state
    state.pointee.bufferedBytes += added
    bufferedTotal += added
    state.pointee.flags.formUnion([.headersSent, .localEnded])
    if state.pointee.bufferedBytes >= configuration.streamBufferedBytesHigh {
      state.pointee.flags.insert(.aboveHigh)
    }
    if headers.owner != nil { state.pointee.headersOwner = headers.owner }
    state.pointee.trailers = trailers
    submitResponse(state, headers)
  }

  private func submitResponse(
    _ state: UnsafeMutablePointer<StreamState>,
    _ headers: HeaderBlock
  ) {
    isDirty = true
    sentSincePing = true
    dataProvider.pointee.source.ptr = UnsafeMutableRawPointer(state)
    let result = nghttp2_submit_response(
      handle,
      state.pointee.id,
      headers.fields,
      headers.count,
      dataProvider
    )
    if result != 0 {
      state.pointee.flags.insert(.reset)
      submitReset(state.pointee.id, NGHTTP2_INTERNAL_ERROR.rawValue)
    }
  }

  /// Ends the stream with an error, what is buffered is lost.
  package func reset(_ stream: HTTP2Stream, errorCode: UInt32) {
    let state = stream.state
    guard state.pointee.flags.contains(.live), ending == nil,
      state.pointee.flags.insert(.reset).inserted
    else { return }
    submitReset(state.pointee.id, errorCode)
  }

  func submitReset(_ id: Int32, _ errorCode: UInt32) {
    isDirty = true
    nghttp2_submit_rst_stream(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, errorCode)
  }

  /// Gives `count` received bytes back to the peer's windows.
  package func consume(_ stream: HTTP2Stream, _ count: Int) {
    let state = stream.state
    guard state.pointee.flags.contains(.live), ending == nil else { return }
    precondition(
      count >= 0 && count <= state.pointee.unconsumedBytes,
      "consumed \(count) of \(state.pointee.unconsumedBytes) bytes"
    )
    state.pointee.unconsumedBytes -= count
    unreportedBytes += count
    reportConsumed()
    guard !state.pointee.flags.contains(.remoteEnded) else { return }
    state.pointee.unreportedBytes += count
    guard state.pointee.unreportedBytes >= streamReportBytes else { return }
    isDirty = true
    nghttp2_session_consume_stream(handle, state.pointee.id, state.pointee.unreportedBytes)
    state.pointee.unreportedBytes = 0
  }

  // nghttp2 sends a WINDOW_UPDATE at half a window; told in quarters, it looks less often.
  func reportConsumed() {
    guard unreportedBytes >= connectionReportBytes else { return }
    isDirty = true
    nghttp2_session_consume_connection(handle, unreportedBytes)
    unreportedBytes = 0
  }

  private func canSend(_ state: UnsafeMutablePointer<StreamState>) -> Bool {
    ending == nil && state.pointee.flags.isDisjoint(with: [.localEnded, .reset])
      && state.pointee.flags.contains(.live)
  }

  private func resume(_ state: UnsafeMutablePointer<StreamState>) {
    isDirty = true
    guard state.pointee.flags.remove(.deferred) != nil else { return }
    nghttp2_session_resume_data(handle, state.pointee.id)
  }
}

internal import CNghttp2

// The pool of streams.
extension HTTP2Session {
  /// A stream object for a new stream.
  func openStream(_ id: Int32) -> UnsafeMutablePointer<StreamState> {
    let state: UnsafeMutablePointer<StreamState>
    if let free = freeStreams {
      state = free
      freeStreams = free.pointee.nextFree
      freeStreamCount -= 1
    } else {
      let stream = HTTP2Stream()
      state = stream.state
      state.pointee.place = streams.count
      streams.append(stream)
    }
    liveCount += 1
    state.pointee.id = id
    state.pointee.flags = .live
    return state
  }

  /// nghttp2 has closed a stream.
  func streamClosed(_ id: Int32, errorCode: UInt32) -> Int32 {
    if let state = find(id) { closeStream(state, errorCode: errorCode) }
    return 0
  }

  /// nghttp2 could not send a request: it was taken back while it waited for its turn, or the peer
  /// takes no more. nghttp2 may have a stream for it, which it closes next; that must find nothing
  /// here, as the state may be gone by then.
  func frameNotSent(_ frame: UnsafePointer<nghttp2_frame>) -> Int32 {
    let headers = UnsafeRawPointer(frame).assumingMemoryBound(to: nghttp2_headers.self)
    guard role == .client, headers.pointee.hd.type == UInt8(NGHTTP2_HEADERS.rawValue),
      headers.pointee.cat == NGHTTP2_HCAT_REQUEST
    else { return 0 }
    let id = headers.pointee.hd.stream_id
    let result = streamClosed(id, errorCode: NGHTTP2_REFUSED_STREAM.rawValue)
    // Fails when nghttp2 has no stream, which is as good.
    nghttp2_session_set_stream_user_data(handle, id, nil)
    return result
  }

  /// Tells the delegate, gives unread bytes back to the window and the object to the pool.
  func closeStream(_ state: UnsafeMutablePointer<StreamState>, errorCode: UInt32) {
    guard state.pointee.flags.remove(.live) != nil else { return }
    liveCount -= 1
    bufferedTotal -= state.pointee.bufferedBytes
    unreportedBytes += state.pointee.unconsumedBytes
    if current == state { current = nil }
    if state.pointee.flags.contains(.announced) {
      state.pointee.object._withUnsafeGuaranteedRef {
        delegate.streamClosed($0, errorCode: errorCode)
      }
    }
    state.pointee.clear()
    if unreportedBytes > 0 { reportConsumed() }
    release(state)
  }

  private func release(_ state: UnsafeMutablePointer<StreamState>) {
    guard freeStreamCount < configuration.pooledStreamsMax, ending == nil else {
      discard(state)
      return
    }
    state.pointee.nextFree = freeStreams
    freeStreams = state
    freeStreamCount += 1
  }

  private func discard(_ state: UnsafeMutablePointer<StreamState>) {
    // During `close` the list is walked and freed whole.
    guard ending == nil, let last = streams.last else { return }
    let place = state.pointee.place
    last.state.pointee.place = place
    streams.swapAt(place, streams.count - 1)
    streams.removeLast()
  }
}

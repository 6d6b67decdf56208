internal import CNghttp2

// What nghttp2 calls while it parses and frames. The session is passed as an address and never
// counted here; nothing on these paths allocates.

@inline(__always)
private func withSession<Result>(
  _ user: UnsafeMutableRawPointer?,
  otherwise: Result,
  _ body: (HTTP2Session) -> Result
) -> Result {
  guard let user else { return otherwise }
  return Unmanaged<HTTP2Session>.fromOpaque(user)._withUnsafeGuaranteedRef(body)
}

/// A frame's concrete part: a frame is a union whose members all begin with the frame header.
@inline(__always)
private func part<Part>(_ frame: UnsafePointer<nghttp2_frame>?, as type: Part.Type) -> Part? {
  guard let frame else { return nil }
  return UnsafeRawPointer(frame).assumingMemoryBound(to: type).pointee
}

extension HTTP2Session {
  /// The table of callbacks, which all sessions share and nghttp2 copies.
  nonisolated(unsafe) static let callbacks: OpaquePointer? = {
    var callbacks: OpaquePointer?
    precondition(nghttp2_session_callbacks_new(&callbacks) == 0, "no memory for nghttp2 callbacks")
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, header, user in
      guard let header else { return 0 }
      return withSession(user, otherwise: 0) { $0.frameBegan(type: header.pointee.type) }
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      return withSession(user, otherwise: 0) { $0.headersBegan(frame) }
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _,
      frame,
      name,
      nameCount,
      value,
      valueCount,
      _,
      user in
      guard let header = part(frame, as: nghttp2_frame_hd.self) else { return 0 }
      return withSession(user, otherwise: 0) {
        $0.headerReceived(
          header.stream_id,
          name: UnsafeRawBufferPointer(start: name, count: nameCount),
          value: UnsafeRawBufferPointer(start: value, count: valueCount)
        )
      }
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
      guard let frame else { return 0 }
      return withSession(user, otherwise: 0) { $0.frameReceived(frame) }
    }
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, _, _, user in
      withSession(user, otherwise: 0) { $0.invalidFrameReceived() }
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
      _,
      _,
      id,
      bytes,
      count,
      user in
      withSession(user, otherwise: 0) {
        $0.dataReceived(id, UnsafeRawBufferPointer(start: bytes, count: count))
      }
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, errorCode, user in
      withSession(user, otherwise: 0) { $0.streamClosed(id, errorCode: errorCode) }
    }
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks) { _, frame, _, user in
      guard let frame else { return 0 }
      return withSession(user, otherwise: 0) { $0.frameNotSent(frame) }
    }
    nghttp2_session_callbacks_set_send_data_callback(callbacks) {
      _,
      _,
      header,
      length,
      source,
      user in
      guard let header, let stream = source?.pointee.ptr else { return 0 }
      return withSession(user, otherwise: 0) {
        $0.sendData(
          stream.assumingMemoryBound(to: StreamState.self),
          header: header,
          length: length
        )
      }
    }
    return callbacks
  }()

  /// Where nghttp2 asks how much of a stream's body the next DATA frame takes.
  static let readCallback: nghttp2_data_source_read_callback = {
    _,
    _,
    _,
    length,
    flags,
    source,
    user in
    guard let flags, let stream = source?.pointee.ptr else { return 0 }
    return withSession(user, otherwise: 0) {
      $0.nextData(
        stream.assumingMemoryBound(to: StreamState.self),
        lengthMax: length,
        flags: flags
      )
    }
  }
}

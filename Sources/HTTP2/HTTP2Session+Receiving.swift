internal import CNghttp2

// Called by nghttp2 from within `receive`. 0 means go on.
extension HTTP2Session {
  func headersBegan(_ frame: UnsafePointer<nghttp2_frame>) -> Int32 {
    guard ending == nil else { return 0 }
    let headers = UnsafeRawPointer(frame).assumingMemoryBound(to: nghttp2_headers.self)
    let id = headers.pointee.hd.stream_id
    if headers.pointee.cat == NGHTTP2_HCAT_REQUEST {
      let state = openStream(id)
      controlFrames.give(configuration.floodLimits.controlFramesPerStream)
      nghttp2_session_set_stream_user_data(handle, id, state)
      current = state
    } else if let state = find(id) {
      state.pointee.headerListBytes = 0
      // Trailers have no pseudo headers.
      state.pointee.flags.insert(.regularSeen)
      current = state
    }
    return 0
  }

  func headerReceived(
    _ id: Int32,
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) -> Int32 {
    guard ending == nil, let state = find(id) else { return 0 }
    // 32 is what RFC 9113 6.5.2 adds for each field.
    state.pointee.headerListBytes += name.count + value.count + 32
    guard state.pointee.headerListBytes <= configuration.headerListBytesMax else {
      if state.pointee.flags.insert(.reset).inserted {
        submitReset(id, NGHTTP2_ENHANCE_YOUR_CALM.rawValue)
      }
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
    }
    if role == .server {
      switch state.pointee.check(name: name, value: value) {
      case .good: break
      case .dropped: return 0
      case .malformed:
        refuseMalformed(state)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
      }
    } else if name.count == 7, name[0] == UInt8(ascii: ":") {
      // ":status" is the only pseudo header of a response.
      state.pointee.flags.remove(.informational)
      if value.first == UInt8(ascii: "1") { state.pointee.flags.insert(.informational) }
    }
    state.pointee.flags.insert(.announced)
    state.pointee.object._withUnsafeGuaranteedRef {
      delegate.headerField($0, name: name, value: value)
    }
    return 0
  }

  func dataReceived(_ id: Int32, _ bytes: UnsafeRawBufferPointer) -> Int32 {
    guard ending == nil, let state = find(id), !state.pointee.flags.contains(.reset)
    else {
      unreportedBytes += bytes.count
      reportConsumed()
      return 0
    }
    current = state
    state.pointee.unconsumedBytes += bytes.count
    state.pointee.bodyBytesReceived += bytes.count
    state.pointee.object._withUnsafeGuaranteedRef { delegate.dataReceived($0, bytes) }
    return 0
  }

  func frameReceived(_ frame: UnsafePointer<nghttp2_frame>) -> Int32 {
    guard ending == nil else { return 0 }
    let memory = UnsafeRawPointer(frame)
    let header = memory.assumingMemoryBound(to: nghttp2_frame_hd.self).pointee
    let isEnd = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch nghttp2_frame_type(rawValue: UInt32(header.type)) {
    case NGHTTP2_DATA:
      if isEnd {
        if let state = find(header.stream_id) { remoteEnded(state) }
      } else if header.length
        == memory.assumingMemoryBound(to: nghttp2_data.self).pointee.padlen
      {
        takeControlToken()
      }
    case NGHTTP2_HEADERS:
      headersEnded(
        header.stream_id,
        category: memory.assumingMemoryBound(to: nghttp2_headers.self).pointee.cat,
        isEnd: isEnd
      )
    case NGHTTP2_SETTINGS:
      clock.isHandshakeDone = true
      if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 {
        takeControlToken(configuration.floodLimits.settingsCost)
      }
    case NGHTTP2_PING:
      pingReceived(isAck: header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0)
    case NGHTTP2_RST_STREAM:
      takeResetToken()
    case NGHTTP2_GOAWAY:
      let goAway = memory.assumingMemoryBound(to: nghttp2_goaway.self)
      isGoAwayReceived = true
      delegate.goAwayReceived(
        lastStreamID: goAway.pointee.last_stream_id,
        errorCode: goAway.pointee.error_code
      )
    default:
      break
    }
    return 0
  }

  private func headersEnded(_ id: Int32, category: nghttp2_headers_category, isEnd: Bool) {
    guard let state = find(id), !state.pointee.flags.contains(.reset) else { return }
    current = state
    let kind: HTTP2HeadersKind
    if role == .server {
      kind = category == NGHTTP2_HCAT_REQUEST ? .request : .trailers
    } else if state.pointee.flags.contains(.responded) {
      kind = .trailers
    } else if state.pointee.flags.contains(.informational) {
      kind = .informational
    } else {
      kind = .response
      state.pointee.flags.insert(.responded)
    }
    if role == .server {
      let isWhole = kind == .request ? state.pointee.isHeadWhole : isEnd
      guard isWhole, !isEnd || state.pointee.isBodyWhole else { return refuseMalformed(state) }
    }
    if isEnd { state.pointee.flags.insert(.remoteEnded) }
    state.pointee.object._withUnsafeGuaranteedRef { stream in
      delegate.headersComplete(stream, kind: kind, endStream: isEnd)
      // The delegate may have reset the stream; it is live until nghttp2 says so.
      if isEnd, ending == nil, !state.pointee.flags.contains(.reset) {
        delegate.endOfStream(stream)
      }
    }
  }

  private func remoteEnded(_ state: UnsafeMutablePointer<StreamState>) {
    guard !state.pointee.flags.contains(.reset) else { return }
    if role == .server, !state.pointee.isBodyWhole { return refuseMalformed(state) }
    state.pointee.flags.insert(.remoteEnded)
    state.pointee.object._withUnsafeGuaranteedRef { delegate.endOfStream($0) }
  }
}

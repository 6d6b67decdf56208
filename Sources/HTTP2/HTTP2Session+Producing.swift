internal import CNghttp2

// Called by nghttp2 from within `produce`.
extension HTTP2Session {
  static let frameHeaderBytes = 9
  /// A DATA frame is cut to the room that is left, but not to less than this.
  static let cutFrameBytesMin = 1 << 10

  /// How many bytes of body the next DATA frame of a stream takes.
  func nextData(
    _ state: UnsafeMutablePointer<StreamState>,
    lengthMax: Int,
    flags: UnsafeMutablePointer<UInt32>
  ) -> Int {
    let buffered = state.pointee.bufferedBytes
    let isEnded = state.pointee.flags.contains(.localEnded)
    guard ending == nil, buffered > 0 || isEnded else {
      state.pointee.flags.insert(.deferred)
      return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    guard buffered > 0 || state.pointee.trailers == nil else {
      // Nothing before the trailers: no empty DATA frame for their sake.
      submitTrailers(state)
      return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    let room = output.count - outputCount - Self.frameHeaderBytes
    let length = min(buffered, lengthMax, max(room, Self.cutFrameBytesMin))
    flags.pointee = NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    if length == buffered && isEnded {
      flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
      if state.pointee.trailers != nil {
        flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
        submitTrailers(state)
      } else {
        stopRequest(state)
      }
    }
    return length
  }

  private func submitTrailers(_ state: UnsafeMutablePointer<StreamState>) {
    guard let trailers = state.pointee.trailers else { return }
    let id = state.pointee.id
    let result = nghttp2_submit_trailer(handle, id, trailers.fields, trailers.count)
    if result != 0 {
      submitReset(id, NGHTTP2_INTERNAL_ERROR.rawValue)
    } else {
      stopRequest(state)
    }
  }

  /// The answer is complete: a client that is still sending its request may stop (RFC 9113 8.1).
  func stopRequest(_ state: UnsafeMutablePointer<StreamState>) {
    guard role == .server, !state.pointee.flags.contains(.remoteEnded) else { return }
    earlyAnswered.append(state.pointee.id)
  }

  /// Resets the streams of `stopRequest`: only now, since nghttp2 drops what else it holds for a
  /// stream as soon as it is asked to reset it. False when there is none.
  func resetEarlyAnswered() -> Bool {
    guard !earlyAnswered.isEmpty else { return false }
    for id in earlyAnswered where find(id) != nil {
      submitReset(id, NGHTTP2_NO_ERROR.rawValue)
    }
    earlyAnswered = []
    return true
  }

  /// Writes a DATA frame to the output.
  func sendData(
    _ state: UnsafeMutablePointer<StreamState>,
    header: UnsafePointer<UInt8>,
    length: Int
  ) -> Int32 {
    let bytes = Self.frameHeaderBytes + length
    guard let base = output.baseAddress, output.count - outputCount >= bytes else {
      isOutputFull = true
      return NGHTTP2_ERR_WOULDBLOCK.rawValue
    }
    let target = base + outputCount
    target.copyMemory(from: header, byteCount: Self.frameHeaderBytes)
    state.pointee.take(length, to: target + Self.frameHeaderBytes)
    outputCount += bytes
    bufferedTotal -= length
    sentSincePing = true
    let limits = configuration.floodLimits
    controlFrames.earn(
      limits.controlFramesPerDataSent + length / limits.sentDataBytesPerControlFrame,
      beyondMax: limits.controlFramesEarnedMax
    )
    if state.pointee.flags.contains(.aboveHigh),
      state.pointee.bufferedBytes < configuration.streamBufferedBytesLow
    {
      state.pointee.flags.remove(.aboveHigh)
      if !state.pointee.flags.contains(.localEnded) {
        state.pointee.flags.insert(.writableDue)
        writableStreams.append(state.pointee.id)
      }
    }
    return 0
  }
}

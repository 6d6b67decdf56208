import Base
package import HTTP2

// What the server sends.
extension ClientLoopConnection {
  package func headerField(
    _ stream: HTTP2Stream,
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) {
    guard stream.tag > 0 else { return }
    let slot = slots[stream.tag - 1]
    switch name.count {
    case 7 where name.isEqual(to: ":status"):
      slot.httpStatus = Self.number(value) ?? 0
    case 11 where name.isEqual(to: "grpc-status"):
      slot.status = Self.number(value) ?? Int(RPCCode.unknown.rawValue)
    case 12 where name.isEqual(to: "grpc-message"):
      if value.count > 0 { slot.message = PercentCoding.decode(value) }
    case 12 where name.isEqual(to: "content-type"):
      slot.isGRPC = value.hasPrefix("application/grpc")
    case 13 where name.isEqual(to: "grpc-encoding"):
      slot.isGzip = value.isEqual(to: "gzip")
    default:
      slot.metadata.append(name: name, value: value)
    }
  }

  package func headersComplete(_ stream: HTTP2Stream, kind: HTTP2HeadersKind, endStream: Bool) {
    guard stream.tag > 0 else { return }
    if kind == .informational { slots[stream.tag - 1].httpStatus = 0 }
  }

  package func dataReceived(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer) {
    guard stream.tag > 0 else {
      http2?.consume(stream, bytes.count)
      return
    }
    let slot = slots[stream.tag - 1]
    let id = slot.id
    if slot.isGRPC { takeData(slot, bytes) }
    if slot.id == id, slot.isPaused {
      slot.heldCreditBytes += bytes.count
    } else {
      http2?.consume(stream, bytes.count)
    }
  }

  private func takeData(_ slot: ClientSlot, _ bytes: UnsafeRawBufferPointer) {
    var data = bytes
    let id = slot.id
    deliveringSlot = slot.index
    defer {
      deliveringSlot = -1
      if slot.id != id { slot.reader.reset() }
    }
    while slot.id == id {
      switch slot.reader.next(from: &data, messageBytesMax: configuration.messageBytesMax) {
      case .message(let message, false):
        delegate?.callReceived(slot.token, message)
      case .message(let message, true):
        deliverCompressed(slot, message)
      case .needsMore:
        return
      case .failure(let status):
        fail(slot, status)
      }
    }
  }

  private func deliverCompressed(_ slot: ClientSlot, _ message: UnsafeRawBufferPointer) {
    guard slot.isGzip else {
      fail(slot, .internal("grpc: compressed flag set with identity or empty encoding"))
      return
    }
    scratch.removeAll()
    do {
      try gzip.decompress(
        message,
        into: &scratch,
        contentBytesMax: configuration.messageBytesMax
      )
    } catch {
      fail(slot, .internal("grpc: failed to decompress the received message: \(error)"))
      return
    }
    delegate?.callReceived(slot.token, scratch.bytes)
  }

  /// Ends a call that the server cannot be let go on with.
  private func fail(_ slot: ClientSlot, _ status: RPCStatus) {
    let token = slot.token
    cancel(slot.id)
    delegate?.callEnded(token, CallEnd(status, mayHaveBeenProcessed: true))
  }

  package func endOfStream(_ stream: HTTP2Stream) {
    guard stream.tag > 0 else { return }
    let slot = slots[stream.tag - 1]
    let token = slot.token
    let end = CallEnd(
      status(slot),
      mayHaveBeenProcessed: true,
      metadata: slot.metadata.count > 0 ? slot.metadata.entries : []
    )
    close(slot)
    delegate?.callEnded(token, end)
  }

  private func status(_ slot: ClientSlot) -> RPCStatus {
    if let number = slot.status {
      if number == 0, slot.reader.heldBytes == 0 { return .ok }
      if number == 0 { return .internal("unexpected EOF") }
      let code = UInt8(exactly: number).flatMap { RPCCode(rawValue: $0) } ?? .unknown
      return RPCStatus(code, slot.message)
    }
    if slot.isGRPC, slot.httpStatus == 200 {
      return .internal("server closed the stream without sending trailers")
    }
    return RPCStatus(
      Self.code(ofHTTPStatus: slot.httpStatus),
      "unexpected HTTP status code received from server: \(slot.httpStatus)"
    )
  }

  package func streamClosed(_ stream: HTTP2Stream, errorCode: UInt32) {
    guard stream.tag > 0 else { return }
    let slot = slots[stream.tag - 1]
    let token = slot.token
    let isUnseen = errorCode == Self.refusedStream || stream.id > lastStreamID
    close(slot)
    if isUnseen {
      let status = RPCStatus.unavailable("the server did not take the call")
      delegate?.callEnded(token, CallEnd(status, mayHaveBeenProcessed: false))
    } else if errorCode == Self.cancelCode {
      // The server's reset, or the end of the connection: what comes next tells.
      canceledTokens.append(token)
    } else {
      let status = Self.status(ofErrorCode: errorCode)
      delegate?.callEnded(token, CallEnd(status, mayHaveBeenProcessed: true))
    }
  }

  private func endCanceled(_ status: RPCStatus) {
    guard !canceledTokens.isEmpty else { return }
    let tokens = canceledTokens
    canceledTokens = []
    for token in tokens {
      delegate?.callEnded(token, CallEnd(status, mayHaveBeenProcessed: true))
    }
  }

  package func streamWritable(_ stream: HTTP2Stream) {
    guard stream.tag > 0 else { return }
    delegate?.callWritable(slots[stream.tag - 1].token)
  }

  package func turnEnded() {
    endCanceled(Self.status(ofErrorCode: Self.cancelCode))
    delegate?.turnEnded()
  }

  package func goAwayReceived(lastStreamID: Int32, errorCode: UInt32) {
    self.lastStreamID = min(self.lastStreamID, lastStreamID)
    guard !isDraining else { return }
    isDraining = true
    delegate?.connectionDraining()
  }

  package func connectionClosed(_ reason: HTTP2CloseReason) {
    http2 = nil
    endCanceled(.unavailable("connection lost"))
    let delegate = delegate
    self.delegate = nil
    delegate?.connectionClosed()
  }

  private static let refusedStream: UInt32 = 0x7

  /// The table of gRPC's HTTP/2 mapping for RST_STREAM.
  private static func status(ofErrorCode code: UInt32) -> RPCStatus {
    let text = "stream terminated by RST_STREAM with error code: \(code)"
    return switch code {
    case cancelCode: RPCStatus(.canceled, text)
    case 0xB: RPCStatus(.resourceExhausted, text)
    case 0xC: RPCStatus(.permissionDenied, text)
    default: .internal(text)
    }
  }

  /// The table of gRPC's mapping for answers that are not gRPC.
  private static func code(ofHTTPStatus status: Int) -> RPCCode {
    switch status {
    case 400: .internal
    case 401: .unauthenticated
    case 403: .permissionDenied
    case 404: .unimplemented
    case 429, 502, 503, 504: .unavailable
    default: .unknown
    }
  }

  private static func number(_ bytes: UnsafeRawBufferPointer) -> Int? {
    guard bytes.count > 0, bytes.count <= 4 else { return nil }
    var value = 0
    for byte in bytes {
      let digit = byte &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      value = value * 10 + Int(digit)
    }
    return value
  }
}

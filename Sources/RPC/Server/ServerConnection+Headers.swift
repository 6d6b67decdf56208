package import HTTP2

// The head of a request.
extension ServerConnection {
  package func headerField(
    _ stream: HTTP2Stream,
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) {
    let slot: CallSlot
    if stream.tag > 0 {
      slot = loop.slots[stream.tag - 1]
    } else {
      guard stream.tag == 0 else { return }
      loop.enterTurn()
      guard let opened = loop.openSlot(self, stream) else {
        stream.tag = Self.endedTag
        http2?.reset(stream, errorCode: Self.refusedStreamCode)
        return
      }
      slot = opened
    }
    // What comes later are trailers, which mean nothing in a request.
    guard slot.phase == .headers else { return }
    if !takeKnownField(slot, name, value) { slot.metadata.append(name: name, value: value) }
  }

  /// Takes in the fields of the protocol where they lie. False: keep the field as metadata.
  private func takeKnownField(
    _ slot: CallSlot,
    _ name: UnsafeRawBufferPointer,
    _ value: UnsafeRawBufferPointer
  ) -> Bool {
    switch name.count {
    case 2:
      return name.isEqual(to: "te")
    case 5:
      guard name.isEqual(to: ":path") else { return false }
      guard let method = loop.paths.find(value) else { return false }
      slot.method = method
      return true
    case 7:
      if name.isEqual(to: ":scheme") { return true }
      guard name.isEqual(to: ":method"), value.isEqual(to: "POST") else { return false }
      slot.isPost = true
      return true
    case 10:
      if name.isEqual(to: ":authority") { return isUsualAuthority(value) }
      return name.isEqual(to: "user-agent")
    case 12:
      return takeContentTypeOrTimeout(slot, name, value)
    case 13:
      guard name.isEqual(to: "grpc-encoding") else { return false }
      guard !value.isEqual(to: "identity") else { return true }
      slot.encoding = value.isEqual(to: "gzip") ? .gzip : .unknown
      return slot.encoding == .gzip
    case 18:
      guard name.isEqual(to: "client-api-version") else { return false }
      slot.clientVersion = loop.clientVersions.place(of: value)
      return true
    case 20:
      return name.isEqual(to: "grpc-accept-encoding")
    default:
      return false
    }
  }

  private func takeContentTypeOrTimeout(
    _ slot: CallSlot,
    _ name: UnsafeRawBufferPointer,
    _ value: UnsafeRawBufferPointer
  ) -> Bool {
    if name.isEqual(to: "content-type") {
      slot.contentType = Self.isGRPC(value) ? .grpc : .other
      return slot.contentType == .grpc
    }
    guard name.isEqual(to: "grpc-timeout") else { return false }
    if let timeout = CallTimeout.parse(value) {
      slot.deadline = slot.startTime + timeout
      return true
    }
    slot.isTimeoutMalformed = true
    return false
  }

  /// `application/grpc`, with `+proto` or parameters or neither.
  private static func isGRPC(_ value: UnsafeRawBufferPointer) -> Bool {
    guard value.hasPrefix("application/grpc") else { return false }
    guard value.count > 16 else { return true }
    let rest = UnsafeRawBufferPointer(rebasing: value[16...])
    return rest[0] == UInt8(ascii: ";") || rest.isEqual(to: "+proto") || rest.hasPrefix("+proto;")
  }

  package func headersComplete(_ stream: HTTP2Stream, kind: HTTP2HeadersKind, endStream: Bool) {
    guard kind == .request, stream.tag > 0 else { return }
    let slot = loop.slots[stream.tag - 1]
    guard slot.phase == .headers else { return }
    // The timer is set below, for calls only; till then there is none to clear.
    let deadline = slot.deadline
    slot.deadline = .max
    if slot.contentType == .grpc, slot.isPost {
      startCall(slot, stream, deadline: deadline)
    } else {
      startPlain(slot, stream, endStream: endStream)
    }
  }

  private static let noCallsHere = ResponseHeaders.trailersOnly(
    .unimplemented("this address serves no gRPC"),
    httpStatus: 404
  )

  private func startCall(_ slot: CallSlot, _ stream: HTTP2Stream, deadline: UInt64) {
    guard listener.servesCalls else {
      refuse(slot, stream, Self.noCallsHere, code: .unimplemented)
      return
    }
    slot.phase = .call
    if slot.method >= 0 { noteStarted(slot) }
    if let refusal = refusal(slot) {
      loop.end(slot, refusal)
      return
    }
    if slot.encoding == .unknown {
      refuseEncoding(slot)
      return
    }
    if deadline != .max {
      guard deadline > slot.startTime else {
        loop.end(slot, .deadlineExceeded)
        return
      }
      slot.deadline = deadline
      loop.startDeadline(slot)
    }
    let method = loop.methods[slot.method]
    guard method.info.requestStreaming, !isRefused(slot) else { return }
    slot.isDispatched = true
    method.service.start(method.number, ServerCall(loop: loop, id: slot.id))
  }

  private func noteStarted(_ slot: CallSlot) {
    loop.tally.countStarted(slot.method)
    let method = loop.methods[slot.method].info
    loop.clientVersions.count(
      slot.clientVersion,
      isStream: method.requestStreaming || method.responseStreaming
    )
    if let tracer = loop.observation.tracer {
      slot.span = tracer.callStarted(ServerCall(loop: loop, id: slot.id), method)
    }
  }

  /// What is wrong with the head of a call, worded as grpc-go does.
  private func refusal(_ slot: CallSlot) -> RPCStatus? {
    if slot.metadata.isOverflown {
      return .resourceExhausted("request metadata larger than max (\(Metadata.bytesMax))")
    }
    if slot.isTimeoutMalformed {
      let text = slot.metadata.value(named: "grpc-timeout").map { String($0) } ?? ""
      return .internal("malformed grpc-timeout: \(text)")
    }
    if slot.method < 0 { return unknownMethod(slot) }
    if let http2, http2.bufferedBytes > loop.configuration.bufferedBytesPerConnectionMax {
      // In etcd's words, so that its clients know what it is.
      return .resourceExhausted("etcdserver: too many requests")
    }
    return nil
  }

  private func refuseEncoding(_ slot: CallSlot) {
    guard let stream = slot.stream else { return }
    let name = slot.metadata.value(named: "grpc-encoding").map { String($0) } ?? ""
    let status = RPCStatus.unimplemented(
      "grpc: Decompressor is not installed for grpc-encoding \"\(name)\""
    )
    refuse(
      slot,
      stream,
      ResponseHeaders.trailersOnly(status, extra: [("grpc-accept-encoding", "identity,gzip")]),
      code: status.code
    )
  }

  /// Answers a request with one header block and forgets it.
  private func refuse(
    _ slot: CallSlot,
    _ stream: HTTP2Stream,
    _ headers: HeaderBlock,
    code: RPCCode
  ) {
    if slot.phase == .call, slot.method >= 0 {
      loop.noteEnded(slot, self, code, responseBytes: 0)
    }
    loop.closeSlot(slot)
    http2?.sendHeaders(stream, headers, endStream: true)
    loop.touch(self)
  }

  /// A request that is not a gRPC call: for the HTTP handler, or refused as grpc-go does.
  private func startPlain(_ slot: CallSlot, _ stream: HTTP2Stream, endStream: Bool) {
    let httpMethod =
      slot.isPost
      ? "POST" : slot.metadata.value(named: ":method").map { String($0) } ?? ""
    if slot.contentType == .grpc {
      let status = RPCStatus.internal(
        "Received a HEADERS frame with :method \"\(httpMethod)\" which should be POST"
      )
      refuse(
        slot,
        stream,
        ResponseHeaders.trailersOnly(status, httpStatus: 405),
        code: status.code
      )
      return
    }
    guard slot.method < 0, listener.httpHandler != nil else {
      let type = slot.metadata.value(named: "content-type").map { String($0) } ?? ""
      let status = RPCStatus.invalidArgument("invalid gRPC request content-type \"\(type)\"")
      refuse(
        slot,
        stream,
        ResponseHeaders.trailersOnly(status, httpStatus: 415),
        code: status.code
      )
      return
    }
    guard !slot.metadata.isOverflown else {
      refuse(slot, stream, HeaderBlock([(":status", "431")]), code: .resourceExhausted)
      return
    }
    slot.phase = .httpBody
    slot.http = HTTP2RequestState(
      method: httpMethod,
      bodyBytesMax: loop.configuration.httpBodyBytesMax
    )
    if !endStream { startExchange(slot) }
  }

  private func unknownMethod(_ slot: CallSlot) -> RPCStatus {
    let path = slot.metadata.value(named: ":path").map { String($0) } ?? ""
    guard path.hasPrefix("/"), let end = path.lastIndex(of: "/"), end != path.startIndex else {
      return .unimplemented("malformed method name: \"\(path)\"")
    }
    let service = String(path[path.index(after: path.startIndex)..<end])
    let method = path[path.index(after: end)...]
    return loop.serviceNames.contains(service)
      ? .unimplemented("unknown method \(method) for service \(service)")
      : .unimplemented("unknown service \(service)")
  }
}

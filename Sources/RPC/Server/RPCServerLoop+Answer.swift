import Base
import HTTP2
import NIOCore

/// The header blocks that every answer shares.
enum ResponseHeaders {
  static let success = HeaderBlock.permanent([
    (":status", "200"), ("content-type", "application/grpc"),
  ])
  static let okTrailers = HeaderBlock.permanent([("grpc-status", "0"), ("grpc-message", "")])

  /// The trailers of a call that ends with `status`.
  static func trailers(_ status: RPCStatus) -> HeaderBlock {
    status == .ok ? okTrailers : HeaderBlock(fields(status))
  }

  /// The only header block of a call that ends before anything else was sent.
  static func trailersOnly(
    _ status: RPCStatus,
    httpStatus: Int = 200,
    extra: [(name: String, value: String)] = []
  ) -> HeaderBlock {
    let head = [
      (name: ":status", value: String(httpStatus)),
      (name: "content-type", value: "application/grpc"),
    ]
    return HeaderBlock(head + fields(status) + extra)
  }

  private static func fields(_ status: RPCStatus) -> [(name: String, value: String)] {
    [
      ("grpc-status", String(status.code.rawValue)),
      ("grpc-message", PercentCoding.encode(status.message)),
    ]
  }
}

// What a `ServerCall` does. All of it is without effect on a call that has ended.
extension RPCServerLoop {
  /// One message and OK.
  func respond(_ id: CallID, _ body: (inout ByteWriter) -> Void) {
    guard let slot = runningSlot(id), let connection = slot.connection, let stream = slot.stream,
      let http2 = connection.http2
    else { return }
    guard !slot.sentHeaders else {
      send(id, body)
      finish(id, .ok)
      return
    }
    closeSlot(slot)
    var length = 0
    http2.respond(
      stream,
      headers: ResponseHeaders.success,
      trailers: ResponseHeaders.okTrailers
    ) { writer in
      length = Self.writeMessage(&writer, body)
    }
    tally.countSent(slot.method, bytes: length)
    noteEnded(slot, connection, .ok, responseBytes: length)
    touch(connection)
  }

  /// One message, encoded already, and OK. The message is not copied.
  func respond(_ id: CallID, message: SharedBytes) {
    send(id, message: message)
    finish(id, .ok)
  }

  /// One message of a stream.
  func send(_ id: CallID, _ body: (inout ByteWriter) -> Void) {
    guard let slot = runningSlot(id), let connection = slot.connection, let stream = slot.stream,
      let http2 = connection.http2
    else { return }
    sendHeadersOnce(slot, http2, stream)
    var length = 0
    http2.write(stream) { writer in
      length = Self.writeMessage(&writer, body)
    }
    slot.responseBytes &+= length
    tally.countSent(slot.method, bytes: length)
    touch(connection)
  }

  /// One message of a stream, encoded already. The message is not copied.
  func send(_ id: CallID, message: SharedBytes) {
    send(id, head: UnsafeRawBufferPointer(start: nil, count: 0), body: message)
  }

  /// One message of a stream, of two parts. The second is not copied.
  func send(_ id: CallID, head: UnsafeRawBufferPointer, body: SharedBytes) {
    guard let slot = runningSlot(id), let connection = slot.connection, let stream = slot.stream,
      let http2 = connection.http2
    else { return }
    sendHeadersOnce(slot, http2, stream)
    http2.write(stream) { writer in
      writer.append(byte: 0)
      writer.append(integer: UInt32(head.count + body.count).bigEndian)
      writer.append(head)
    }
    http2.write(stream, body)
    let bytes = head.count + body.count + MessageReader.prefixBytes
    slot.responseBytes &+= bytes
    tally.countSent(slot.method, bytes: bytes)
    touch(connection)
  }

  /// The beginning of a message whose `length` bytes follow by `sendPart`.
  func beginMessage(_ id: CallID, length: Int) {
    guard let slot = runningSlot(id), let connection = slot.connection, let stream = slot.stream,
      let http2 = connection.http2
    else { return }
    sendHeadersOnce(slot, http2, stream)
    http2.write(stream) { writer in
      writer.append(byte: 0)
      writer.append(integer: UInt32(length).bigEndian)
    }
    slot.responseBytes &+= length + MessageReader.prefixBytes
    tally.countSent(slot.method, bytes: length + MessageReader.prefixBytes)
  }

  /// A part of a message that was begun. The bytes are not copied.
  func sendPart(_ id: CallID, _ part: SharedBytes) {
    guard let slot = runningSlot(id), let connection = slot.connection, let stream = slot.stream,
      let http2 = connection.http2
    else { return }
    http2.write(stream, part)
    touch(connection)
  }

  /// Response headers before the first message.
  func sendHeaders(_ id: CallID) {
    guard let slot = runningSlot(id), let connection = slot.connection, let stream = slot.stream,
      let http2 = connection.http2
    else { return }
    sendHeadersOnce(slot, http2, stream)
    touch(connection)
  }

  /// The end of a call.
  func finish(_ id: CallID, _ status: RPCStatus) {
    guard let slot = runningSlot(id) else { return }
    end(slot, status)
  }

  /// Ends a call whatever its state, without telling the dispatcher.
  func end(_ slot: CallSlot, _ status: RPCStatus) {
    guard let connection = slot.connection, let stream = slot.stream else { return }
    let sentHeaders = slot.sentHeaders
    if slot.method >= 0 {
      noteEnded(slot, connection, status.code, responseBytes: slot.responseBytes)
    }
    closeSlot(slot)
    if sentHeaders {
      connection.http2?.sendTrailers(stream, ResponseHeaders.trailers(status))
    } else {
      connection.http2?.sendHeaders(stream, ResponseHeaders.trailersOnly(status), endStream: true)
    }
    touch(connection)
  }

  /// Ends a call early: the dispatcher hears `cancel`, the client gets `status`.
  func abort(_ slot: CallSlot, _ status: RPCStatus) {
    tellCanceled(slot)
    end(slot, status)
  }

  /// Calls the dispatcher's `cancel`, if it knows of the call; nothing can be sent during that.
  func tellCanceled(_ slot: CallSlot) {
    guard slot.isDispatched else { return }
    slot.isDispatched = false
    slot.phase = .ending
    let method = methods[slot.method]
    method.service.cancel(method.number, ServerCall(loop: self, id: slot.id))
  }

  private func sendHeadersOnce(
    _ slot: CallSlot,
    _ http2: HTTP2Connection,
    _ stream: HTTP2Stream
  ) {
    guard !slot.sentHeaders else { return }
    slot.sentHeaders = true
    http2.sendHeaders(stream, ResponseHeaders.success, endStream: false)
  }

  /// Notes that `flush` has something to do for this connection.
  func touch(_ connection: ServerConnection) {
    guard !connection.isDirty, turnTime == 0 else { return }
    connection.isDirty = true
    dirtyConnections.append(connection)
  }

  /// Writes what `body` writes as one message, with its prefix; returns the length of both.
  @inline(__always)
  private static func writeMessage(
    _ writer: inout ByteWriter,
    _ body: (inout ByteWriter) -> Void
  ) -> Int {
    let start = writer.count
    writer.append(byte: 0)
    writer.append(integer: UInt32(0))
    body(&writer)
    let length = writer.count - start
    writer.overwrite(
      integer: UInt32(length - MessageReader.prefixBytes).bigEndian,
      at: start + 1
    )
    return length
  }
}

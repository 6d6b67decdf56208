package import Base
import HTTP2
package import NIOCore

/// A running call, as its service sees it: a small handle that may be kept, on the event loop.
///
/// A call may end at any time, because its client or its deadline ends it; whatever is done with a
/// handle after that has no effect. To name a call on another thread, pass `id` and ask the loop's
/// `call(_:)` when back.
package struct ServerCall {
  /// The loop outlives its calls, so the handle does not count a reference to it.
  package unowned(unsafe) let loop: RPCServerLoop
  package let id: CallID

  init(loop: RPCServerLoop, id: CallID) {
    self.loop = loop
    self.id = id
  }

  /// Whether the call can still be answered.
  package var isActive: Bool { loop.runningSlot(id) != nil }

  /// The time by which the client wants the answer, if it named one.
  package var deadline: NIODeadline? {
    guard let slot = loop.knownSlot(id), slot.deadline != .max else { return nil }
    return .uptimeNanoseconds(slot.deadline)
  }

  /// The path of the call's method.
  package var path: String {
    guard let slot = loop.knownSlot(id), slot.method >= 0 else { return "" }
    return loop.methods[slot.method].info.path
  }

  /// The value of the request's `:authority`; empty when it had none.
  package var authority: String {
    guard let slot = loop.knownSlot(id) else { return "" }
    if let own = slot.metadata.value(named: ":authority") { return String(own) }
    return slot.connection?.authority ?? ""
  }

  /// The client's address as text, `10.0.0.7:41244`; empty when unknown.
  package var peerAddress: String { loop.knownSlot(id)?.connection?.peer ?? "" }

  /// The CommonName of the certificate that the client proved to hold, see `PeerIdentity`; nil when
  /// there is none that was verified. The same for every call of a connection, and not a copy.
  package var peerCommonName: String? {
    guard let slot = loop.knownSlot(id), let connection = slot.connection else { return nil }
    guard connection.isLoopback else { return connection.peerCommonName }
    // The server's own services say for whom they call.
    return header(named: "martlet-common-name")
  }

  /// Whether the server calls itself, for a client whose token, if any, is in the metadata: no
  /// certificate speaks for such a call.
  package var isLoopback: Bool {
    loop.knownSlot(id)?.connection?.isLoopback ?? false
  }

  /// The first metadata value with this name, which must be in lower case. The fields of the
  /// protocol itself, `user-agent` among them, are not kept.
  package func header(named name: StaticString) -> String? {
    loop.knownSlot(id)?.metadata.value(named: name).map { String($0) }
  }

  /// The bytes of the first metadata value with this name, which must end in `-bin`; nil when there
  /// is none or it is not base64.
  package func binaryHeader(named name: StaticString) -> [UInt8]? {
    loop.knownSlot(id)?.metadata.value(named: name).flatMap { Base64.decode($0) }
  }

  /// Calls `body` with the first metadata value of this name, without a copy.
  package func withHeader<Result>(
    named name: StaticString,
    _ body: (UnsafeRawBufferPointer?) -> Result
  ) -> Result {
    body(loop.knownSlot(id)?.metadata.value(named: name))
  }

  /// All metadata that was kept, in the order of arrival.
  package var headers: [(name: String, value: String)] {
    loop.knownSlot(id)?.metadata.entries.filter { !$0.name.hasPrefix(":") } ?? []
  }

  /// Answers with one message, the one that `body` encodes, and OK.
  @inline(__always)
  package func respond(_ body: (inout ByteWriter) -> Void) {
    loop.respond(id, body)
  }

  /// Answers with one message that is encoded already, and OK. The bytes are sent from where they
  /// are, without a copy.
  package func respond(message: SharedBytes) {
    loop.respond(id, message: message)
  }

  /// Sends one message of a response stream.
  package func send(_ body: (inout ByteWriter) -> Void) {
    loop.send(id, body)
  }

  /// Sends one message of a response stream that is encoded already, without a copy.
  package func send(message: SharedBytes) {
    loop.send(id, message: message)
  }

  /// Begins a message that is sent in parts, all by `sendPart`, `length` bytes together. A call that
  /// ends before that leaves the client with a broken message and the status, which is an error then.
  package func beginMessage(length: Int) {
    loop.beginMessage(id, length: length)
  }

  /// Sends a part of the message that `beginMessage` began, without a copy.
  package func sendPart(_ part: SharedBytes) {
    loop.sendPart(id, part)
  }

  /// Sends one message of a response stream that consists of `head` and `body`. The body is sent
  /// without a copy, the head's bytes are copied.
  package func send(head: UnsafeRawBufferPointer, body: SharedBytes) {
    loop.send(id, head: head, body: body)
  }

  /// Sends the response headers now rather than with the first message, so that the client knows
  /// that its stream stands.
  package func sendHeaders() {
    loop.sendHeaders(id)
  }

  /// Ends the call.
  package func finish(_ status: RPCStatus) {
    loop.finish(id, status)
  }

  /// Whether the client takes what is sent. When false, send no more until `whenWritable` calls.
  package var isWritable: Bool {
    loop.runningSlot(id)?.stream?.isWritable ?? false
  }

  /// How many bytes wait for the client to take them.
  package var bufferedBytes: Int {
    loop.runningSlot(id)?.stream?.bufferedBytes ?? 0
  }

  /// Calls `callback` once: at once when the call is writable, else when it becomes so. Never
  /// called for a call that ends before. A second callback takes the place of the first.
  package func whenWritable(_ callback: @escaping (ServerCall) -> Void) {
    guard let slot = loop.runningSlot(id), let stream = slot.stream else { return }
    if stream.isWritable { callback(self) } else { slot.writableCallback = callback }
  }
}

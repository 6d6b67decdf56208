import Base
import HTTP2
import RPC

/// Hears what becomes of a call to a server, on the event loop.
protocol UpstreamSink: AnyObject {
  /// A whole message, valid only during this call.
  func upstreamReceived(_ message: UnsafeRawBufferPointer)
  /// The call is over; the last thing heard of it.
  func upstreamEnded(_ end: CallEnd)
}

/// A call to one of the servers. Confined to the event loop.
final class UpstreamCall {
  let headers: HeaderBlock
  /// Nil when the call is over: what comes then is for nobody.
  private(set) var sink: (any UpstreamSink)?
  /// What was sent, as long as it has to be sent, or to be sent again.
  private var messages: [SharedBytes] = []
  private var isHalfClosed = false
  private var isPaused = false
  private var attachment: (connection: ClientLoopConnection, id: CallID)?
  /// How often the call has begun at a server.
  private(set) var attempts = 0

  init(headers: HeaderBlock, sink: any UpstreamSink) {
    self.headers = headers
    self.sink = sink
  }

  func send(_ message: SharedBytes) {
    guard sink != nil else { return }
    if let attachment {
      message.withUnsafeBytes { attachment.connection.send(attachment.id, $0) }
    }
    if attachment == nil { messages.append(message) }
  }

  func halfClose() {
    isHalfClosed = true
    if let attachment { attachment.connection.halfClose(attachment.id) }
  }

  /// Takes the call back; its sink hears nothing any more.
  func cancel() {
    sink = nil
    messages = []
    if let attachment { attachment.connection.cancel(attachment.id) }
    attachment = nil
  }

  /// Whether a call that no server has taken can begin again by itself: all of its requests are here.
  var mayBeginAnew: Bool { sink != nil && isHalfClosed }

  /// Holds the server back by flow control, or lets it go on.
  func setPaused(_ isPaused: Bool) {
    self.isPaused = isPaused
    if let attachment { attachment.connection.setPaused(attachment.id, isPaused) }
  }

  // MARK: From the link

  /// False when the connection takes no more calls for now.
  func attach(_ connection: ClientLoopConnection, token: Int) -> Bool {
    guard let id = connection.start(headers: headers, token: token) else { return false }
    attachment = (connection, id)
    attempts += 1
    for message in messages { message.withUnsafeBytes { connection.send(id, $0) } }
    if isHalfClosed {
      connection.halfClose(id)
    } else {
      messages = []
    }
    if isPaused { connection.setPaused(id, true) }
    return true
  }

  /// The server has not taken the call: it waits for another.
  func detach() {
    attachment = nil
  }

  func received(_ message: UnsafeRawBufferPointer) {
    sink?.upstreamReceived(message)
  }

  func finish(_ end: CallEnd) {
    let sink = sink
    self.sink = nil
    attachment = nil
    messages = []
    sink?.upstreamEnded(end)
  }
}

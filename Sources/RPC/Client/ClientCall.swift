import Base
import HTTP2
import NIOCore

/// One call of an `RPCClient`. Confined to the client's event loop; the `async` functions may be
/// called from anywhere and hop there.
final class ClientCall: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  typealias Reply = Result<[UInt8]?, RPCError>

  let eventLoop: any EventLoop
  private let options: CallOptions
  private let inputBufferedBytesMax: Int
  /// The connection and the call's name there; nil before and after.
  private var attachment: (connection: ClientLoopConnection, id: CallID)?
  private var wasSent = false
  /// Request messages from before the connection stood.
  private var unsent: [SharedBytes] = []
  private var isHalfClosed = false
  private var inbox: [[UInt8]] = []
  /// The first message of `inbox` that has not been taken.
  private var inboxStart = 0
  private var inboxBytes = 0
  private var isPaused = false
  private(set) var end: CallEnd?
  private var reader: CheckedContinuation<Reply, Never>?
  private var readsToEnd = false
  private var writers: [CheckedContinuation<Void, Never>] = []
  private var timer: Scheduled<Void>?

  init(eventLoop: any EventLoop, options: CallOptions, inputBufferedBytesMax: Int) {
    self.eventLoop = eventLoop
    self.options = options
    self.inputBufferedBytesMax = inputBufferedBytesMax
  }

  // MARK: From the caller

  /// The next response message; nil after the last, when the call ended well.
  func next() async throws(RPCError) -> [UInt8]? {
    try await read(toEnd: false)
  }

  /// The only response message, when the call has ended well.
  func only(afterStarting start: @escaping @Sendable () -> Void) async throws(RPCError) -> [UInt8] {
    guard let message = try await read(toEnd: true, start: start) else {
      throw RPCError(
        .internal("cardinality violation: received no response message"),
        mayHaveBeenProcessed: true
      )
    }
    return message
  }

  private func read(
    toEnd: Bool,
    start: (@Sendable () -> Void)? = nil
  ) async throws(RPCError) -> [UInt8]? {
    let reply = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        eventLoop.execute {
          start?()
          self.take(continuation, toEnd: toEnd)
        }
      }
    } onCancel: {
      cancel()
    }
    return try reply.get()
  }

  /// Sends a request message, and waits while the server is slow to take them.
  func send(_ message: SharedBytes) async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        eventLoop.execute {
          self.write(message)
          if self.mustWaitToWrite {
            self.writers.append(continuation)
          } else {
            continuation.resume()
          }
        }
      }
    } onCancel: {
      cancel()
    }
  }

  /// Takes the call back, unless it has ended.
  func cancel() {
    eventLoop.execute { self.stop(.canceled) }
  }

  // MARK: On the loop

  /// Starts the clock of the call.
  func startTimer() {
    guard let timeout = options.timeout else { return }
    timer = eventLoop.scheduleTask(in: timeout) { self.stop(.deadlineExceeded) }
  }

  /// The connection stands: the call begins in earnest. False when the server allows no more calls
  /// for now.
  func attach(_ connection: ClientLoopConnection, _ headers: HeaderBlock, token: Int) -> Bool {
    guard
      let id = connection.start(
        headers: headers,
        token: token,
        compressesRequests: options.compressesRequests
      )
    else { return false }
    attachment = (connection, id)
    wasSent = true
    let messages = unsent
    unsent = []
    for message in messages { message.withUnsafeBytes { connection.send(id, $0) } }
    if isHalfClosed { connection.halfClose(id) }
    resumeWriters()
    return true
  }

  func write(_ message: SharedBytes) {
    guard end == nil, !isHalfClosed else { return }
    guard let (connection, id) = attachment else {
      unsent.append(message)
      return
    }
    message.withUnsafeBytes { connection.send(id, $0) }
  }

  func halfClose() {
    guard end == nil, !isHalfClosed else { return }
    isHalfClosed = true
    if let (connection, id) = attachment { connection.halfClose(id) }
  }

  func received(_ message: UnsafeRawBufferPointer) {
    inbox.append([UInt8](message))
    inboxBytes += message.count
    if inboxBytes > inputBufferedBytesMax, !isPaused, !readsToEnd {
      isPaused = true
      if let (connection, id) = attachment { connection.setPaused(id, true) }
    }
    if !readsToEnd { serveReader() }
  }

  func finish(_ end: CallEnd) {
    guard self.end == nil else { return }
    self.end = end
    attachment = nil
    unsent = []
    timer?.cancel()
    timer = nil
    serveReader()
    resumeWriters()
  }

  func becameWritable() {
    if !mustWaitToWrite { resumeWriters() }
  }

  /// Ends the call from this side.
  private func stop(_ status: RPCStatus) {
    guard end == nil else { return }
    if let (connection, id) = attachment { connection.cancel(id) }
    inbox = []
    inboxStart = 0
    finish(CallEnd(status, mayHaveBeenProcessed: wasSent))
  }

  private func resumeWriters() {
    let waiting = writers
    writers = []
    for writer in waiting { writer.resume() }
  }

  private var mustWaitToWrite: Bool {
    guard end == nil else { return false }
    guard let (connection, id) = attachment else { return true }
    return !connection.isWritable(id)
  }

  private func take(_ continuation: CheckedContinuation<Reply, Never>, toEnd: Bool) {
    precondition(reader == nil, "two readers of one call")
    reader = continuation
    readsToEnd = toEnd
    serveReader()
  }

  /// Gives the reader, if one waits, what there is for it.
  private func serveReader() {
    guard let reader, let reply = reply() else { return }
    self.reader = nil
    reader.resume(returning: reply)
  }

  private func reply() -> Reply? {
    if readsToEnd {
      guard let end else { return nil }
      guard end.status == .ok else { return .failure(end.error) }
      guard inbox.count <= 1 else {
        return .failure(
          RPCError(
            .internal("cardinality violation: received more than one response message"),
            mayHaveBeenProcessed: true
          )
        )
      }
      return .success(inbox.first)
    }
    if inboxStart < inbox.count { return .success(popInbox()) }
    guard let end else { return nil }
    return end.status == .ok ? .success(nil) : .failure(end.error)
  }

  private func popInbox() -> [UInt8] {
    let message = inbox[inboxStart]
    inbox[inboxStart] = []
    inboxStart += 1
    inboxBytes -= message.count
    if inboxStart == inbox.count {
      inbox.removeAll(keepingCapacity: true)
      inboxStart = 0
    }
    if isPaused, inboxBytes <= inputBufferedBytesMax / 2 {
      isPaused = false
      if let (connection, id) = attachment { connection.setPaused(id, false) }
    }
    return message
  }
}

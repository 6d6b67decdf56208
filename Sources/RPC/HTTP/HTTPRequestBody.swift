import Synchronization

/// The body of a request that is answered while it arrives. Has one reader. Thread-safe.
///
/// What has arrived and was not read is kept here; the connection takes no more in when it is too
/// much.
package final class HTTPRequestBody: Sendable {
  /// HTTP/1.1: a connection with this many bytes unread is not read any further.
  static let unreadBytesHigh = 64 << 10

  private struct State {
    var bytes: [UInt8] = []
    var isEnded = false
    var reader: CheckedContinuation<[UInt8]?, Never>?
  }

  private let state = Mutex(State())
  private let wereRead: @Sendable (Int) -> Void

  /// `wereRead` is told, on any thread, of bytes that the reader took.
  init(wereRead: @escaping @Sendable (Int) -> Void) {
    self.wereRead = wereRead
  }

  /// What has arrived since the last time, waiting for something; nil at the end, which is also when
  /// the client is gone or the reader's task is cancelled.
  package func next() async -> [UInt8]? {
    let bytes = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if let ready = takeOrWait(continuation) { continuation.resume(returning: ready) }
      }
    } onCancel: {
      end()
    }
    if let bytes { wereRead(bytes.count) }
    return bytes
  }

  /// What `next` answers at once; nil when its continuation waits.
  private func takeOrWait(_ continuation: CheckedContinuation<[UInt8]?, Never>) -> [UInt8]?? {
    state.withLock { state -> [UInt8]?? in
      if !state.bytes.isEmpty {
        let bytes = state.bytes
        state.bytes = []
        return .some(bytes)
      }
      if state.isEnded { return .some(nil) }
      precondition(state.reader == nil, "a body has one reader")
      state.reader = continuation
      return nil
    }
  }

  /// More has arrived.
  func append(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    let reader = state.withLock { state -> CheckedContinuation<[UInt8]?, Never>? in
      let reader = state.reader
      state.reader = nil
      if reader == nil, !state.isEnded { state.bytes.append(contentsOf: bytes) }
      return reader
    }
    reader?.resume(returning: bytes)
  }

  /// Nothing more will arrive.
  func end() {
    let reader = state.withLock { state -> CheckedContinuation<[UInt8]?, Never>? in
      let reader = state.reader
      state.reader = nil
      state.isEnded = true
      return reader
    }
    reader?.resume(returning: nil)
  }
}

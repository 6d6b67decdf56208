import Synchronization

/// What was written to the log already, so that each cause is said once and not with every attempt.
final class Complaints: Sendable {
  private struct State {
    var known: Set<String> = []
    var since: UInt64 = 0
  }

  private let state = Mutex(State())
  /// After so long everything may be said again; nil: only after `forget`.
  private let memoryNanoseconds: UInt64?

  /// A cause beyond so many is not written any more until some are forgotten.
  private static let knownMax = 64

  init(memoryNanoseconds: UInt64? = nil) {
    self.memoryNanoseconds = memoryNanoseconds
  }

  /// Whether this is to be said: not if it was said since the last `forget`.
  func isNew(_ cause: String) -> Bool {
    let now = PeerTransport.now
    return state.withLock { state in
      if let memoryNanoseconds, now - state.since >= memoryNanoseconds {
        state = State(since: now)
      }
      return state.known.count < Self.knownMax && state.known.insert(cause).inserted
    }
  }

  /// All is well again. Returns whether there was something.
  @discardableResult
  func forget() -> Bool {
    state.withLock { state in
      defer { state.known.removeAll() }
      return !state.known.isEmpty
    }
  }
}

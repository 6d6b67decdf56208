import Synchronization

/// What was written to the log already, so that each cause is said once and not with every attempt.
final class Complaints: Sendable {
  private let known = Mutex<Set<String>>([])

  /// A cause beyond so many is not written any more until some are forgotten.
  private static let knownMax = 64

  /// Whether this is to be said: not if it was said since the last `forget`.
  func isNew(_ cause: String) -> Bool {
    known.withLock { known in
      known.count < Self.knownMax && known.insert(cause).inserted
    }
  }

  /// All is well again. Returns whether there was something.
  @discardableResult
  func forget() -> Bool {
    known.withLock { known in
      defer { known.removeAll() }
      return !known.isEmpty
    }
  }
}

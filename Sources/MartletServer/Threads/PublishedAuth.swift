import Auth
import Synchronization

/// The replica's users and roles as other threads see them.
///
/// Published before the keys of the batch that changed them can be read, so whoever finds the same
/// `stamp` before and after a read of the store has read nothing under permissions older than it.
final class PublishedAuth: Sendable {
  /// Names one published state: its revision, and whether authentication is on.
  struct Stamp: Hashable, Sendable {
    fileprivate let rawValue: UInt64

    fileprivate init(_ state: AuthState) {
      rawValue = state.revision << 1 | (state.isEnabled ? 1 : 0)
    }

    fileprivate init(rawValue: UInt64) {
      self.rawValue = rawValue
    }

    var isEnabled: Bool { rawValue & 1 != 0 }
  }

  private let word: Atomic<UInt64>
  private let state: Mutex<AuthState>

  init(_ state: AuthState) {
    word = Atomic(Stamp(state).rawValue)
    self.state = Mutex(state)
  }

  /// What is published now. Acquire: `current` is then at least as new.
  var stamp: Stamp { Stamp(rawValue: word.load(ordering: .acquiring)) }

  var current: AuthState { state.withLock { $0 } }

  /// The revision of what is published now.
  var revision: UInt64 { word.load(ordering: .relaxed) >> 1 }

  /// Called by the replica's thread.
  func publish(_ new: AuthState) {
    state.withLock {
      $0 = new
      word.store(Stamp(new).rawValue, ordering: .releasing)
    }
  }

  /// The state with its own stamp.
  var stamped: (AuthState, Stamp) {
    state.withLock { ($0, Stamp($0)) }
  }
}

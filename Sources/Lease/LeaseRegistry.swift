package import Base
import MVCC
import Synchronization

/// The leases of a cluster and the keys that hang on them.
///
/// The log decides which leases there are: the apply thread grants, revokes and checkpoints, and
/// the store attaches keys. Who leads decides, by its own clock, when one has expired: its replica
/// thread takes out what is due and proposes the revocation. Event loops renew and read at any time.
/// There is no clock in here; times are nanoseconds of the caller's, which never goes back.
package final class LeaseRegistry: LeaseTable, @unchecked Sendable {
  // Safe to share: `state` is touched with `lock` held only.
  private let lock = Mutex<Void>(())
  private var state = LeaseState()

  /// The longest time to live that is granted, in seconds.
  package static let secondsMax: Int64 = 9_000_000_000

  package init() {}

  /// Runs `body` with the lock held.
  @inline(__always)
  func withState<Result: Sendable, Failure: Error>(
    _ body: (inout LeaseState) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try lock.withLock { _ throws(Failure) in try body(&state) }
  }
}

// What the log says. Apply thread.
extension LeaseRegistry {
  /// Grants a lease of `seconds`, at least 1. `index` is the entry that says so.
  package func grant(
    _ lease: LeaseID,
    seconds: Int64,
    at index: LogIndex,
    now: UInt64
  ) throws(LeaseError) -> StoredLease {
    guard lease != .none else { throw .notFound }
    guard seconds <= Self.secondsMax else { throw .timeToLiveTooLarge }
    return try withState { state throws(LeaseError) in
      guard state.slot(of: lease) == nil else { throw .exists }
      let stored = StoredLease(id: lease, grantedSeconds: max(seconds, 1), grantedAt: index)
      let slot = state.add(stored)
      state.noteChange(slot)
      state.statistics.noteGrant(seconds: stored.grantedSeconds)
      if state.isPrimary {
        state[slot].expiry = LeaseState.expiry(seconds: stored.grantedSeconds, from: now)
        state.heap.insert(slot, &state.slots)
      }
      return stored
    }
  }

  /// Ends a lease and returns the keys that go with it, or nil when it is unknown.
  package func revoke(_ lease: LeaseID) -> LeaseKeys? {
    withState { state in
      guard let slot = state.slot(of: lease) else { return nil }
      state.statistics.revoked += 1
      return state.remove(slot)
    }
  }

  /// Ends a lease that the leader found expired when it had applied `index`. Nil when it ended
  /// since, also when another lease took its ID.
  package func expire(_ lease: LeaseID, asOf index: LogIndex) -> LeaseKeys? {
    withState { state in
      guard let slot = state.slot(of: lease), state[slot].stored.grantedAt <= index else {
        return nil
      }
      state.statistics.revoked += 1
      state.statistics.expired += 1
      return state.remove(slot)
    }
  }

  /// Notes how many seconds of a lease are left; 0 for as many as were granted. Without effect when
  /// the lease was granted after the entry `index`.
  package func checkpoint(
    _ lease: LeaseID,
    remainingSeconds: Int64,
    asOf index: LogIndex = LogIndex(.max)
  ) {
    withState { state in
      guard let slot = state.slot(of: lease), state[slot].stored.grantedAt <= index else { return }
      let granted = state[slot].stored.grantedSeconds
      let remaining = remainingSeconds < granted ? max(remainingSeconds, 0) : 0
      state[slot].flags.remove(.isBeingCheckpointed)
      guard state[slot].stored.remainingSeconds != remaining else { return }
      state[slot].stored.remainingSeconds = remaining
      state.noteChange(slot)
    }
  }

  // MARK: LeaseTable

  package func exists(_ lease: LeaseID) -> Bool {
    withState { $0.slot(of: lease) != nil }
  }

  package func attach(_ key: UnsafeRawBufferPointer, to lease: LeaseID) {
    withState { state in
      guard let slot = state.slot(of: lease) else { return }
      state.keys.attach(key, to: slot, &state.slots[Int(slot)])
    }
  }

  package func detach(_ key: UnsafeRawBufferPointer) {
    withState { state in
      guard state.keys.count > 0 else { return }
      state.keys.detach(key, &state.slots)
    }
  }
}

// What is stored. Apply thread.
extension LeaseRegistry {
  /// How many leases changed since the last `takeChanges`, or a few more.
  package var changedCount: Int { withState { $0.changed.count } }

  /// Calls `visit` for each lease that changed since the last call, named by the entry that granted
  /// it: with what to store, or nil when it ended.
  package func takeChanges(_ visit: (_ grantedAt: LogIndex, _ stored: StoredLease?) -> Void) {
    withState { state in
      for changed in state.changed {
        guard let slot = state.slot(of: changed.lease),
          state[slot].stored.grantedAt == changed.grantedAt
        else {
          visit(changed.grantedAt, nil)
          continue
        }
        state[slot].flags.remove(.isChanged)
        visit(changed.grantedAt, state[slot].stored)
      }
      state.changed = []
    }
  }

  /// Takes over the leases and attachments of a registry that was restored from elsewhere, and that
  /// is of no use afterwards. Only while this member does not lead.
  package func adopt(_ other: LeaseRegistry) {
    var new = LeaseState()
    other.withState { swap(&$0, &new) }
    withState { state in
      new.statistics = state.statistics
      swap(&state, &new)
    }
  }

  /// Adds a lease as it was stored, before the store attaches its keys. False when it is no sound
  /// one, or a second one with its ID.
  package func restore(_ stored: StoredLease) -> Bool {
    withState { state in
      guard stored.id != .none, state.slot(of: stored.id) == nil,
        (1...Self.secondsMax).contains(stored.grantedSeconds),
        (0...stored.grantedSeconds).contains(stored.remainingSeconds)
      else { return false }
      _ = state.add(stored)
      return true
    }
  }
}

package import Base

/// What became of a renewal.
package enum LeaseRenewal: Equatable, Sendable {
  /// The lease goes on for so many seconds from now.
  case renewed(seconds: Int64)
  /// There is no such lease, or it is being revoked.
  case unknown
  /// The log says that less is left than a renewal would promise. Once a checkpoint with 0 is
  /// applied, try again.
  case needsCheckpoint
  /// This member does not lead, or not for long enough to know.
  case notPrimary
}

/// What a client may know of a lease.
package struct LeaseTimes: Equatable, Sendable {
  package var grantedSeconds: Int64
  /// Whole seconds left.
  package var remainingSeconds: Int64
  package var keyCount: Int

  package init(grantedSeconds: Int64, remainingSeconds: Int64, keyCount: Int) {
    self.grantedSeconds = grantedSeconds
    self.remainingSeconds = remainingSeconds
    self.keyCount = keyCount
  }
}

// Any thread.
extension LeaseRegistry {
  /// Starts a lease's time anew.
  package func renew(_ lease: LeaseID, now: UInt64) -> LeaseRenewal {
    withState { state in
      guard state.isPrimary else { return .notPrimary }
      guard let slot = state.slot(of: lease) else { return .unknown }
      let record = state[slot]
      if record.flags.contains(.isExpiring) { return .unknown }
      if record.stored.remainingSeconds != 0 || record.flags.contains(.isBeingCheckpointed) {
        return .needsCheckpoint
      }
      let seconds = record.stored.grantedSeconds
      // A new leader may have given more.
      state[slot].expiry = max(record.expiry, LeaseState.expiry(seconds: seconds, from: now))
      state.statistics.renewed += 1
      return .renewed(seconds: seconds)
    }
  }

  /// The times of a lease; nil when there is none or it is being revoked.
  package func times(of lease: LeaseID, now: UInt64) -> LeaseTimes? {
    withState { state in
      guard let slot = state.slot(of: lease), !state[slot].flags.contains(.isExpiring) else {
        return nil
      }
      let record = state[slot]
      let granted = record.stored.grantedSeconds
      let left = record.expiry > now ? (record.expiry - now) / LeaseState.nanosecondsPerSecond : 0
      return LeaseTimes(
        grantedSeconds: granted,
        // A new leader gives more than was granted; nobody was promised it.
        remainingSeconds: state.isPrimary
          ? min(Int64(clamping: left), granted) : record.knownSeconds,
        keyCount: Int(record.keyCount)
      )
    }
  }

  /// What the log says of a lease; nil when there is none.
  package func stored(_ lease: LeaseID) -> StoredLease? {
    withState { state in state.slot(of: lease).map { state[$0].stored } }
  }

  /// Copies of the keys on a lease, in ascending order; none for an unknown one.
  package func keys(of lease: LeaseID) -> [[UInt8]] {
    withState { state in
      guard let slot = state.slot(of: lease) else { return [] }
      return state.keys.keys(of: state[slot])
    }
  }

  /// Calls `body` with each key on a lease, in ascending order, until it answers false. Returns
  /// whether it never did, as also for an unknown lease. The bytes are valid during the call.
  package func forEachKey(
    of lease: LeaseID,
    _ body: (UnsafeRawBufferPointer) -> Bool
  ) -> Bool {
    keys(of: lease).allSatisfy { key in key.withUnsafeBytes(body) }
  }

  /// The lease that a key hangs on, or `.none`.
  package func lease(of key: UnsafeRawBufferPointer) -> LeaseID {
    withState { state in
      state.keys.lease(of: key).map { state[$0].stored.id } ?? .none
    }
  }

  /// All leases, those that expire first before others.
  package func all() -> [LeaseID] {
    var found: [(expiry: UInt64, id: LeaseID)] = withState { state in
      state.slots.lazy
        .filter { $0.flags.contains(.isGranted) }
        .map { (state.isPrimary ? $0.expiry : 0, $0.stored.id) }
    }
    found.sort { $0.expiry != $1.expiry ? $0.expiry < $1.expiry : $0.id < $1.id }
    return found.map(\.id)
  }

  package var count: Int { withState { $0.count } }

  package var statistics: LeaseStatistics { withState { $0.statistics } }
}

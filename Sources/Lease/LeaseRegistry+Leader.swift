package import Base

// What the leader alone does. Replica thread.
extension LeaseRegistry {
  /// This member leads and has applied all that was committed before: leases expire by its clock.
  ///
  /// Nobody here knows of the renewals that an earlier leader granted, so each lease starts anew
  /// with what the log knows of it, and `extensionNanoseconds` more: the old leader may have gone
  /// on renewing until it noticed.
  package func promote(now: UInt64, extensionNanoseconds: UInt64) {
    withState { state in
      for slot in state.slots.indices where state.slots[slot].flags.contains(.isGranted) {
        state.slots[slot].flags.subtract([.isExpiring, .isBeingCheckpointed])
        state.slots[slot].expiry = LeaseState.expiry(
          seconds: state.slots[slot].knownSeconds,
          from: now + extensionNanoseconds
        )
      }
      state.heap.fill(&state.slots)
      state.isPrimary = true
      state.holdUntil = now
      state.nextCheckpointSlot = 0
    }
  }

  /// This member does not lead any more: what it handed out may or may not be revoked.
  package func demote() {
    withState { state in
      guard state.isPrimary else { return }
      state.isPrimary = false
      state.heap.removeAll()
      for slot in state.slots.indices {
        state.slots[slot].heapPosition = LeaseRecord.none
        state.slots[slot].flags.subtract([.isExpiring, .isBeingCheckpointed])
      }
    }
  }

  package var isPrimary: Bool { withState { $0.isPrimary } }

  /// Nothing expires before `time`: the process was paused, and clients that tried to renew must
  /// be heard first.
  package func hold(until time: UInt64) {
    withState { $0.holdUntil = max($0.holdUntil, time) }
  }

  /// Whether `takeExpired` has something to do.
  package func hasDue(now: UInt64) -> Bool {
    withState { state in
      guard state.isPrimary, now >= state.holdUntil, let first = state.heap.first else {
        return false
      }
      return first.time <= now
    }
  }

  /// At most so many renewed leases are put back in their place in one call.
  static let movesMax = 10_000

  /// Hands out expired leases to be revoked, those that expired first before others: at most
  /// `leasesMax`, and no more after `keysMax` keys. From now on they cannot be renewed.
  package func takeExpired(now: UInt64, leasesMax: Int, keysMax: Int) -> [LeaseID] {
    withState { state in
      var expired: [LeaseID] = []
      guard state.isPrimary, now >= state.holdUntil else { return [] }
      var keys = 0
      var moves = 0
      while let first = state.heap.first, first.time <= now, expired.count < leasesMax,
        keys < keysMax, moves < Self.movesMax
      {
        if state[first.slot].expiry > first.time {
          state.heap.updateFirst(&state.slots)
          moves += 1
          continue
        }
        state.heap.remove(first.slot, &state.slots)
        state[first.slot].flags.insert(.isExpiring)
        expired.append(state[first.slot].stored.id)
        keys += Int(state[first.slot].keyCount)
      }
      return expired
    }
  }

  /// Takes back leases of `takeExpired` whose revocation was not proposed.
  package func giveBack(_ expired: [LeaseID]) {
    withState { state in
      for lease in expired {
        guard let slot = state.slot(of: lease),
          state[slot].flags.remove(.isExpiring) != nil
        else { continue }
        state.heap.insert(slot, &state.slots)
      }
    }
  }

  /// How much of a lease must have passed since the last checkpoint, and must be left, for the next
  /// one to be worth an entry.
  package static let checkpointSeconds: Int64 = 300

  /// Looks at the next `slotCount` leases, and hands out what is left of long ones that nobody
  /// renewed for long. Called often enough to get around within `checkpointSeconds`. With `isLast`,
  /// what is left of all leases that the log knows to have more: this member is about to stop.
  package func takeCheckpoints(
    now: UInt64,
    slotCount: Int,
    isLast: Bool = false
  ) -> [(lease: LeaseID, remainingSeconds: Int64)] {
    withState { state in
      var checkpoints: [(lease: LeaseID, remainingSeconds: Int64)] = []
      guard state.isPrimary else { return [] }
      for _ in 0..<min(slotCount, state.slots.count) {
        if state.nextCheckpointSlot >= state.slots.count { state.nextCheckpointSlot = 0 }
        let slot = UInt32(state.nextCheckpointSlot)
        state.nextCheckpointSlot += 1
        let record = state[slot]
        guard record.flags.contains(.isGranted),
          record.flags.isDisjoint(with: [.isExpiring, .isBeingCheckpointed]), record.expiry > now
        else { continue }
        // Rounded up: a lease may end late, not early.
        let left = Int64(
          clamping: (record.expiry - now - 1) / LeaseState.nanosecondsPerSecond + 1
        )
        let isDue =
          isLast
          ? record.knownSeconds > left
          : left > Self.checkpointSeconds
            && record.knownSeconds - left >= Self.checkpointSeconds
        guard isDue else { continue }
        state[slot].flags.insert(.isBeingCheckpointed)
        checkpoints.append((record.stored.id, left))
      }
      return checkpoints
    }
  }

  /// Takes back checkpoints that were not proposed.
  package func giveBack(checkpoints: [(lease: LeaseID, remainingSeconds: Int64)]) {
    withState { state in
      for (lease, _) in checkpoints {
        if let slot = state.slot(of: lease) { state[slot].flags.remove(.isBeingCheckpointed) }
      }
    }
  }

  /// How many places `takeCheckpoints` has to go around.
  package var slotCount: Int { withState { $0.slots.count } }
}

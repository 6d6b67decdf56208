import Synchronization

/// The revisions that reads under way depend on: compaction waits for the older ones.
final class PinTable: Sendable {
  private struct State {
    /// Per slot the pinned revision; `freed` in slots that are free.
    var slots: [Int64] = []
    var vacant: [Int] = []
  }

  private static let freed = Int64.max
  private let state = Mutex(State())

  /// Pins `revision` and returns the slot to give back. Call it under the store's lock, so that
  /// compaction cannot start in between.
  func pin(_ revision: Int64) -> Int {
    state.withLock { state in
      if let slot = state.vacant.popLast() {
        state.slots[slot] = revision
        return slot
      }
      state.slots.append(revision)
      return state.slots.count - 1
    }
  }

  func unpin(_ slot: Int) {
    state.withLock { state in
      precondition(state.slots[slot] != Self.freed, "a pin was released twice")
      state.slots[slot] = Self.freed
      state.vacant.append(slot)
    }
  }

  /// The oldest pinned revision; the largest number when none is.
  var oldest: Int64 {
    state.withLock { $0.slots.min() ?? Self.freed }
  }
}

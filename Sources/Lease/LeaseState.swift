import Base

/// The leases, without the lock and without the rules of who may change what.
struct LeaseState {
  var slots: [LeaseRecord] = []
  private var freeSlots: [UInt32] = []
  /// For look-ups only: its order must not reach an output.
  private var slotOf: [LeaseID: UInt32] = [:]
  let keys = KeyTable()
  var heap = LeaseHeap()
  /// Leases to be stored or removed from the store at the next flush; some may be named twice.
  var changed: [Changed] = []
  var statistics = LeaseStatistics()

  /// Whether this member leads and so decides when leases expire.
  var isPrimary = false
  /// Leader: nothing expires before this time.
  var holdUntil: UInt64 = 0
  /// Leader: where the next look for checkpoints begins.
  var nextCheckpointSlot = 0

  struct Changed {
    var lease: LeaseID
    /// Which of several leases that had this ID.
    var grantedAt: LogIndex
  }

  var count: Int { slotOf.count }

  func slot(of lease: LeaseID) -> UInt32? { slotOf[lease] }

  subscript(slot: UInt32) -> LeaseRecord {
    _read { yield slots[Int(slot)] }
    _modify { yield &slots[Int(slot)] }
  }

  /// Adds a lease that is not there.
  mutating func add(_ stored: StoredLease) -> UInt32 {
    var record = LeaseRecord(stored: stored)
    record.flags = .isGranted
    let slot: UInt32
    if let free = freeSlots.popLast() {
      slot = free
      slots[Int(slot)] = record
    } else {
      slot = UInt32(slots.count)
      slots.append(record)
    }
    slotOf[stored.id] = slot
    return slot
  }

  /// Removes a lease and returns its keys.
  mutating func remove(_ slot: UInt32) -> LeaseKeys {
    heap.remove(slot, &slots)
    let ended = keys.detachAll(&slots[Int(slot)])
    noteChange(slot)
    slotOf[slots[Int(slot)].stored.id] = nil
    slots[Int(slot)].flags = []
    freeSlots.append(slot)
    return ended
  }

  mutating func noteChange(_ slot: UInt32) {
    guard slots[Int(slot)].flags.insert(.isChanged).inserted else { return }
    let stored = slots[Int(slot)].stored
    changed.append(Changed(lease: stored.id, grantedAt: stored.grantedAt))
  }

  static let nanosecondsPerSecond: UInt64 = 1_000_000_000

  /// When a lease with so many seconds left ends. At most 9e18, since time to live is bounded.
  static func expiry(seconds: Int64, from now: UInt64) -> UInt64 {
    let left = UInt64(clamping: seconds).multipliedReportingOverflow(by: nanosecondsPerSecond)
    return left.overflow ? .max : now.addingReportingOverflow(left.partialValue).partialValue
  }
}

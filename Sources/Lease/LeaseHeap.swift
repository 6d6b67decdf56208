/// The leases of a leader by the time at which each must be looked at: a binary heap, earliest
/// first.
///
/// A renewal moves a lease's expiry and leaves the heap alone, so an entry's time is a lower bound;
/// an entry that comes to the top too early is put back with the true time.
struct LeaseHeap {
  struct Entry {
    /// Nanoseconds of the leader's clock.
    var time: UInt64
    var slot: UInt32

    /// Of those with one time, as after a change of leader, the ones granted earlier mostly come
    /// first: their records lie together in the store.
    static func < (left: Entry, right: Entry) -> Bool {
      left.time != right.time ? left.time < right.time : left.slot < right.slot
    }
  }

  private(set) var entries: [Entry] = []

  var first: Entry? { entries.first }

  mutating func removeAll() {
    entries = []
  }

  /// Adds an entry for each lease at once, in O(n).
  mutating func fill(_ slots: inout [LeaseRecord]) {
    entries = []
    for slot in slots.indices where slots[slot].flags.contains(.isGranted) {
      entries.append(Entry(time: slots[slot].expiry, slot: UInt32(slot)))
    }
    for position in entries.indices {
      slots[Int(entries[position].slot)].heapPosition = UInt32(position)
    }
    for position in stride(from: entries.count / 2 - 1, through: 0, by: -1) {
      siftDown(position, &slots)
    }
  }

  mutating func insert(_ slot: UInt32, _ slots: inout [LeaseRecord]) {
    entries.append(Entry(time: slots[Int(slot)].expiry, slot: slot))
    slots[Int(slot)].heapPosition = UInt32(entries.count - 1)
    siftUp(entries.count - 1, &slots)
  }

  /// Takes a lease's entry out, if it has one.
  mutating func remove(_ slot: UInt32, _ slots: inout [LeaseRecord]) {
    let found = slots[Int(slot)].heapPosition
    guard found != LeaseRecord.none else { return }
    slots[Int(slot)].heapPosition = LeaseRecord.none
    let position = Int(found)
    let last = entries.removeLast()
    guard position < entries.count else { return }
    entries[position] = last
    slots[Int(last.slot)].heapPosition = found
    siftDown(position, &slots)
    siftUp(Int(slots[Int(last.slot)].heapPosition), &slots)
  }

  /// Gives the first entry its lease's true expiry, which is no earlier.
  mutating func updateFirst(_ slots: inout [LeaseRecord]) {
    entries[0].time = slots[Int(entries[0].slot)].expiry
    siftDown(0, &slots)
  }

  private mutating func siftUp(_ start: Int, _ slots: inout [LeaseRecord]) {
    let entry = entries[start]
    var position = start
    while position > 0 {
      let parent = (position - 1) / 2
      guard entry < entries[parent] else { break }
      place(entries[parent], at: position, &slots)
      position = parent
    }
    place(entry, at: position, &slots)
  }

  private mutating func siftDown(_ start: Int, _ slots: inout [LeaseRecord]) {
    let entry = entries[start]
    var position = start
    while true {
      var child = 2 * position + 1
      guard child < entries.count else { break }
      if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
      guard entries[child] < entry else { break }
      place(entries[child], at: position, &slots)
      position = child
    }
    place(entry, at: position, &slots)
  }

  private mutating func place(_ entry: Entry, at position: Int, _ slots: inout [LeaseRecord]) {
    entries[position] = entry
    slots[Int(entry.slot)].heapPosition = UInt32(position)
  }
}

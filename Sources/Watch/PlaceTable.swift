/// Places by hash: open addressing with linear probing, 8 bytes a slot. Who asks compares what is
/// at the places; the table knows nothing but hashes.
struct PlaceTable {
  private struct Slot {
    var hash: UInt32 = 0
    var place = nowhere
  }

  private var slots = ContiguousArray<Slot>(repeating: Slot(), count: PlaceTable.countInitial)
  private(set) var count = 0

  private static let countInitial = 16

  @inline(__always)
  private var mask: Int { slots.count - 1 }

  /// The place with this hash for which `isRight` says yes; `nowhere` when there is none.
  @inline(__always)
  func find(_ hash: UInt32, _ isRight: (Int32) -> Bool) -> Int32 {
    slots.withUnsafeBufferPointer { slots in
      var position = Int(hash) & (slots.count - 1)
      while slots[position].place != nowhere {
        let slot = slots[position]
        if slot.hash == hash, isRight(slot.place) { return slot.place }
        position = (position + 1) & (slots.count - 1)
      }
      return nowhere
    }
  }

  /// Adds a place that is not there yet.
  mutating func insert(_ hash: UInt32, _ place: Int32) {
    if count * 4 >= slots.count * 3 { resize(slots.count * 2) }
    put(Slot(hash: hash, place: place))
    count += 1
  }

  private mutating func put(_ slot: Slot) {
    var position = Int(slot.hash) & mask
    while slots[position].place != nowhere { position = (position + 1) & mask }
    slots[position] = slot
  }

  /// Removes a place that is there.
  mutating func remove(_ hash: UInt32, _ place: Int32) {
    var hole = Int(hash) & mask
    while slots[hole].place != place { hole = (hole + 1) & mask }
    count -= 1
    // Whatever lies after the hole and would not be found across it moves up.
    var position = (hole + 1) & mask
    while slots[position].place != nowhere {
      let home = Int(slots[position].hash) & mask
      if (position - home) & mask >= (position - hole) & mask {
        slots[hole] = slots[position]
        hole = position
      }
      position = (position + 1) & mask
    }
    slots[hole] = Slot()
    if slots.count > Self.countInitial, count * 8 < slots.count { resize(slots.count / 2) }
  }

  private mutating func resize(_ size: Int) {
    let old = slots
    slots = ContiguousArray(repeating: Slot(), count: size)
    for slot in old where slot.place != nowhere { put(slot) }
  }
}

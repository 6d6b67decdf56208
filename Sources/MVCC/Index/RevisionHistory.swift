import Base

#if canImport(Glibc)
import Glibc
#endif

/// The older changes of one key in ascending order, in one block that grows in place:
///
///     0   capacity, in changes
///     8   where the first change is: what lies before has been compacted
///     16  where the changes end
///     24  unused
///     32  the changes, 16 bytes each
struct RevisionHistory {
  private static let headerBytes = 32
  private static let capacityFirst = 2
  /// A block of this size or less is not worth shrinking.
  private static let capacityKeptMin = 16
  /// From here on a block grows by a quarter instead of doubling.
  private static let capacityDoubledMax = 4096

  let base: UnsafeMutableRawPointer

  @inline(__always)
  init(base: UnsafeMutableRawPointer) {
    self.base = base
  }

  private var capacity: Int {
    get { base.load(as: Int.self) }
    nonmutating set { base.storeBytes(of: newValue, as: Int.self) }
  }

  private var first: Int {
    get { base.load(fromByteOffset: 8, as: Int.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 8, as: Int.self) }
  }

  private var end: Int {
    get { base.load(fromByteOffset: 16, as: Int.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 16, as: Int.self) }
  }

  private var slots: UnsafeMutablePointer<KeyChange> {
    (base + Self.headerBytes).assumingMemoryBound(to: KeyChange.self)
  }

  /// The changes, valid until the next append or compaction.
  var changes: UnsafeBufferPointer<KeyChange> {
    UnsafeBufferPointer(start: slots + first, count: end - first)
  }

  /// Bytes of memory held.
  var bytesReserved: Int { Self.headerBytes + capacity * MemoryLayout<KeyChange>.stride }

  /// Appends in amortised constant time; the history may move.
  static func append(_ change: KeyChange, to history: RevisionHistory?) -> RevisionHistory {
    var target = history ?? resize(nil, capacity: capacityFirst)
    if target.end == target.capacity { target = target.makeRoom() }
    target.slots[target.end] = change
    target.end += 1
    return target
  }

  static func free(_ history: RevisionHistory?) {
    if let history { Glibc.free(history.base) }
  }

  private static func resize(_ old: RevisionHistory?, capacity: Int) -> RevisionHistory {
    let bytes = headerBytes + capacity * MemoryLayout<KeyChange>.stride
    guard let block = realloc(old?.base, bytes) else { preconditionFailure("out of memory") }
    let history = RevisionHistory(base: block)
    if old == nil {
      history.first = 0
      history.end = 0
    }
    history.capacity = capacity
    return history
  }

  private func makeRoom() -> RevisionHistory {
    if first > capacity / 2 {
      slide()
      return self
    }
    let more = capacity <= Self.capacityDoubledMax ? capacity : capacity / 4
    return Self.resize(self, capacity: capacity + more)
  }

  private func slide() {
    let count = end - first
    memmove(slots, slots + first, count * MemoryLayout<KeyChange>.stride)
    first = 0
    end = count
  }

  /// The newest change at or before main revision `revision`.
  func change(at revision: Int64) -> KeyChange? {
    let position = upperBound(revision)
    return position > first ? slots[position - 1] : nil
  }

  /// The slot of the first change after main revision `revision`.
  private func upperBound(_ revision: Int64) -> Int {
    var low = first
    var high = end
    while low < high {
      let middle = (low + high) >> 1
      if slots[middle].main <= revision { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Drops, oldest first and at most `countMax`, what compaction at `revision` leaves unreachable,
  /// and adds it to `dropped`. No history, and the memory freed, when nothing is left.
  ///
  /// With `keepingLast` the newest change at or before `revision` is among these and stays, unless
  /// it is a tombstone before `revision`.
  func compacted(
    at revision: Int64,
    keepingLast: Bool,
    countMax: Int,
    into dropped: inout [ChangeRevision]
  ) -> (history: RevisionHistory?, isDone: Bool) {
    var target = upperBound(revision)
    if keepingLast && target > first {
      let last = slots[target - 1]
      if !last.isTombstone || last.main == revision { target -= 1 }
    }
    let stop = min(target, first + countMax)
    for slot in first..<stop {
      dropped.append(ChangeRevision(main: slots[slot].main, sub: Int64(slots[slot].sub)))
    }
    first = stop
    if first == end {
      Self.free(self)
      return (nil, true)
    }
    return (shrunk(), stop == target)
  }

  /// Gives memory back once a quarter or less is in use.
  private func shrunk() -> RevisionHistory {
    let count = end - first
    guard capacity > Self.capacityKeptMin && count <= capacity / 4 else { return self }
    slide()
    return Self.resize(self, capacity: max(count + count / 4, Self.capacityFirst))
  }
}

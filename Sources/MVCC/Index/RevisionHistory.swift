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

  /// What compaction at `revision` leaves; nil, and the memory freed, when that is nothing.
  func compacted(at revision: Int64) -> RevisionHistory? {
    let position = upperBound(revision)
    guard position > first else { return self }
    let last = slots[position - 1]
    first = last.isTombstone && last.main < revision ? position : position - 1
    if first == end {
      Self.free(self)
      return nil
    }
    // Give memory back once a quarter or less is in use.
    let count = end - first
    if capacity > 16 && count <= capacity / 4 {
      slide()
      return Self.resize(self, capacity: max(count + count / 4, Self.capacityFirst))
    }
    return self
  }
}

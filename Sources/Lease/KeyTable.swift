import Glibc

/// The keys that hang on leases: a hash table from key to lease, whose entries are also linked to a
/// list for each lease. 36 bytes a key, and the key itself.
///
/// Hashes are seeded per process, so that clients cannot choose keys that collide; no order in
/// here ever reaches an output.
final class KeyTable {
  static let none = UInt32.max

  private struct Entry {
    var bytes: UnsafeMutableRawPointer?
    var length: UInt32
    var hash: UInt32
    /// The slot of the lease.
    var lease: UInt32
    /// Neighbours in the lease's list; `next` also links free entries.
    var next: UInt32
    var previous: UInt32
  }

  private var entries: [Entry] = []
  private var firstFree = KeyTable.none
  /// Open addressing with linear probing: positions in `entries`, or `none`.
  private var buckets = [UInt32](repeating: KeyTable.none, count: 16)
  private(set) var count = 0

  deinit {
    for entry in entries { free(entry.bytes) }
  }

  private static func hash(_ key: UnsafeRawBufferPointer) -> UInt32 {
    var hasher = Hasher()
    hasher.combine(bytes: key)
    return UInt32(truncatingIfNeeded: hasher.finalize())
  }

  private func bucket(_ hash: UInt32) -> Int { Int(hash) & (buckets.count - 1) }

  private func bytes(_ entry: Entry) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: entry.bytes, count: Int(entry.length))
  }

  private func findBucket(_ key: UnsafeRawBufferPointer, _ hash: UInt32) -> Int? {
    var position = bucket(hash)
    while buckets[position] != Self.none {
      let entry = entries[Int(buckets[position])]
      if entry.hash == hash, compareBytes(bytes(entry), key) == 0 { return position }
      position = (position + 1) & (buckets.count - 1)
    }
    return nil
  }

  /// The slot of the lease that `key` hangs on.
  func lease(of key: UnsafeRawBufferPointer) -> UInt32? {
    findBucket(key, Self.hash(key)).map { entries[Int(buckets[$0])].lease }
  }

  /// Hangs a key, which is on no lease, on the lease in `slot`.
  func attach(_ key: UnsafeRawBufferPointer, to slot: UInt32, _ record: inout LeaseRecord) {
    let hash = Self.hash(key)
    precondition(findBucket(key, hash) == nil, "a key on two leases")
    if (count + 1) * 4 > buckets.count * 3 { grow() }
    guard let memory = malloc(max(key.count, 1)) else { preconditionFailure("out of memory") }
    if let start = key.baseAddress { memory.copyMemory(from: start, byteCount: key.count) }
    let entry = Entry(
      bytes: memory,
      length: UInt32(key.count),
      hash: hash,
      lease: slot,
      next: record.firstKey,
      previous: Self.none
    )
    let place = add(entry)
    if record.firstKey != Self.none { entries[Int(record.firstKey)].previous = place }
    record.firstKey = place
    record.keyCount += 1
    insertBucket(place, hash)
    count += 1
  }

  private func add(_ entry: Entry) -> UInt32 {
    guard firstFree != Self.none else {
      entries.append(entry)
      return UInt32(entries.count - 1)
    }
    let place = firstFree
    firstFree = entries[Int(place)].next
    entries[Int(place)] = entry
    return place
  }

  private func insertBucket(_ place: UInt32, _ hash: UInt32) {
    var position = bucket(hash)
    while buckets[position] != Self.none { position = (position + 1) & (buckets.count - 1) }
    buckets[position] = place
  }

  private func grow() {
    buckets = [UInt32](repeating: Self.none, count: buckets.count * 2)
    for (place, entry) in entries.enumerated() where entry.bytes != nil {
      insertBucket(UInt32(place), entry.hash)
    }
  }

  /// Takes a key off its lease. Without effect for a key on none.
  func detach(_ key: UnsafeRawBufferPointer, _ records: inout [LeaseRecord]) {
    guard let position = findBucket(key, Self.hash(key)) else { return }
    let place = buckets[position]
    let entry = entries[Int(place)]
    if entry.previous != Self.none {
      entries[Int(entry.previous)].next = entry.next
    } else {
      records[Int(entry.lease)].firstKey = entry.next
    }
    if entry.next != Self.none { entries[Int(entry.next)].previous = entry.previous }
    records[Int(entry.lease)].keyCount -= 1
    free(entry.bytes)
    release(place, at: position)
  }

  /// Frees an entry, whose memory somebody else has taken, and closes the gap in its bucket's run.
  private func release(_ place: UInt32, at position: Int) {
    entries[Int(place)].bytes = nil
    entries[Int(place)].next = firstFree
    firstFree = place
    count -= 1
    let mask = buckets.count - 1
    var gap = position
    var next = (gap + 1) & mask
    while buckets[next] != Self.none {
      let home = bucket(entries[Int(buckets[next])].hash)
      if (next - home) & mask >= (next - gap) & mask {
        buckets[gap] = buckets[next]
        gap = next
      }
      next = (next + 1) & mask
    }
    buckets[gap] = Self.none
  }

  /// Takes all keys off a lease and returns them, in ascending order.
  func detachAll(_ record: inout LeaseRecord) -> LeaseKeys {
    var taken: [UnsafeRawBufferPointer] = []
    taken.reserveCapacity(Int(record.keyCount))
    var place = record.firstKey
    while place != Self.none {
      let entry = entries[Int(place)]
      let key = bytes(entry)
      guard let position = findBucket(key, entry.hash) else {
        preconditionFailure("a lease's key is not in the table")
      }
      taken.append(key)
      release(place, at: position)
      place = entry.next
    }
    record.firstKey = Self.none
    record.keyCount = 0
    return LeaseKeys(owning: taken)
  }

  /// Copies of a lease's keys, in ascending order.
  func keys(of record: LeaseRecord) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    keys.reserveCapacity(Int(record.keyCount))
    var place = record.firstKey
    while place != Self.none {
      keys.append(Array(bytes(entries[Int(place)])))
      place = entries[Int(place)].next
    }
    return keys.sorted { $0.lexicographicallyPrecedes($1) }
  }
}

/// The keys that hung on a lease when it ended, in ascending order of their bytes.
package final class LeaseKeys: @unchecked Sendable {
  // Safe to share: nothing changes after `init`.

  private let ascending: [UnsafeRawBufferPointer]

  /// Takes ownership of memory from `malloc`.
  init(owning keys: [UnsafeRawBufferPointer]) {
    ascending = keys.count < 2 ? keys : keys.sorted { compareBytes($0, $1) < 0 }
  }

  /// Calls `body` with the keys, which are valid only during the call.
  package func withKeys<Result>(_ body: ([UnsafeRawBufferPointer]) -> Result) -> Result {
    withExtendedLifetime(self) { body(ascending) }
  }

  deinit {
    for key in ascending { free(UnsafeMutableRawPointer(mutating: key.baseAddress)) }
  }
}

/// Negative, 0 or positive, as `left` is before, equal to or after `right`.
private func compareBytes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
  let common = min(left.count, right.count)
  if common > 0, let a = left.baseAddress, let b = right.baseAddress {
    let order = memcmp(a, b, common)
    if order != 0 { return Int(order) }
  }
  return left.count - right.count
}

#if canImport(Glibc)
import Glibc
#endif

/// A node of the B+tree in memory of its own:
///
///     0   level         UInt16, 0 for a leaf
///     2   count         UInt16, keys in a leaf, separators in an inner node
///     4   prefixLength  UInt32, leading bytes that all keys of the node share, as far as known
///     8   liveMask      bit i: key i of a leaf is live
///     16  next          the leaf to the right
///     24  previous      the leaf to the left
///     32  heads         per key the 8 bytes after the prefix, big endian, padded with zeros
///     544 keys          per key a pointer to its bytes
///     1056 children     inner nodes: count + 1 children
///     1576 liveCounts   inner nodes: live keys under each child
///
/// Heads decide most comparisons without touching the keys' own memory.
struct IndexNode: Equatable {
  static let keysMax = 64
  /// Fewer keys than this and the node looks for a neighbour to merge with.
  static let keysMin = keysMax / 4
  private static let headsOffset = 32
  private static let keysOffset = headsOffset + keysMax * 8
  private static let childrenOffset = keysOffset + keysMax * 8
  private static let liveCountsOffset = childrenOffset + (keysMax + 1) * 8
  private static let leafBytes = childrenOffset
  private static let innerBytes = liveCountsOffset + (keysMax + 1) * 8

  let base: UnsafeMutableRawPointer

  @inline(__always)
  init(base: UnsafeMutableRawPointer) {
    self.base = base
  }

  static func make(level: Int) -> IndexNode {
    let bytes = level == 0 ? leafBytes : innerBytes
    let node = IndexNode(base: .allocate(byteCount: bytes, alignment: 32))
    node.base.initializeMemory(as: UInt64.self, repeating: 0, count: headsOffset / 8)
    node.base.storeBytes(of: UInt16(level), as: UInt16.self)
    return node
  }

  func free() { base.deallocate() }

  @inline(__always)
  var level: Int { Int(base.load(as: UInt16.self)) }

  @inline(__always)
  var isLeaf: Bool { base.load(as: UInt16.self) == 0 }

  var bytesReserved: Int { isLeaf ? Self.leafBytes : Self.innerBytes }

  @inline(__always)
  var count: Int {
    get { Int(base.load(fromByteOffset: 2, as: UInt16.self)) }
    nonmutating set { base.storeBytes(of: UInt16(newValue), toByteOffset: 2, as: UInt16.self) }
  }

  @inline(__always)
  var prefixLength: Int {
    get { Int(base.load(fromByteOffset: 4, as: UInt32.self)) }
    nonmutating set { base.storeBytes(of: UInt32(newValue), toByteOffset: 4, as: UInt32.self) }
  }

  @inline(__always)
  var liveMask: UInt64 {
    get { base.load(fromByteOffset: 8, as: UInt64.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 8, as: UInt64.self) }
  }

  @inline(__always)
  var next: IndexNode? {
    get { base.load(fromByteOffset: 16, as: UnsafeMutableRawPointer?.self).map(IndexNode.init) }
    nonmutating set {
      base.storeBytes(of: newValue?.base, toByteOffset: 16, as: UnsafeMutableRawPointer?.self)
    }
  }

  @inline(__always)
  var previous: IndexNode? {
    get { base.load(fromByteOffset: 24, as: UnsafeMutableRawPointer?.self).map(IndexNode.init) }
    nonmutating set {
      base.storeBytes(of: newValue?.base, toByteOffset: 24, as: UnsafeMutableRawPointer?.self)
    }
  }

  @inline(__always)
  var heads: UnsafeMutablePointer<UInt64> {
    (base + Self.headsOffset).assumingMemoryBound(to: UInt64.self)
  }

  @inline(__always)
  var keys: UnsafeMutablePointer<KeyPointer> {
    (base + Self.keysOffset).assumingMemoryBound(to: KeyPointer.self)
  }

  @inline(__always)
  var children: UnsafeMutablePointer<IndexNode> {
    (base + Self.childrenOffset).assumingMemoryBound(to: IndexNode.self)
  }

  @inline(__always)
  var liveCounts: UnsafeMutablePointer<Int> {
    (base + Self.liveCountsOffset).assumingMemoryBound(to: Int.self)
  }

  /// Live keys in the node's subtree.
  var liveTotal: Int {
    if isLeaf { return liveMask.nonzeroBitCount }
    var total = 0
    for child in 0...count { total += liveCounts[child] }
    return total
  }

  @inline(__always)
  func record(_ position: Int) -> KeyRecord { KeyRecord(keys[position]) }
}

// Searching within a node.
extension IndexNode {
  /// The 8 bytes of `key` from `offset` on, as a number that orders as they do.
  @inline(__always)
  static func head(_ key: UnsafeRawBufferPointer, from offset: Int) -> UInt64 {
    let rest = key.count - offset
    guard rest > 0, let base = key.baseAddress else { return 0 }
    if rest >= 8 {
      return UInt64(bigEndian: (base + offset).loadUnaligned(as: UInt64.self))
    }
    var word: UInt64 = 0
    for index in 0..<rest {
      word |= UInt64((base + offset + index).load(as: UInt8.self)) << UInt64(56 - 8 * index)
    }
    return word
  }

  /// Where `key` lies in relation to the prefix that the node's keys share: negative when before
  /// all of them, positive when after all, 0 when it shares the prefix.
  @inline(__always)
  private func comparePrefix(_ key: UnsafeRawBufferPointer) -> Int {
    let length = prefixLength
    if length == 0 || count == 0 { return 0 }
    let common = min(length, key.count)
    if common > 0, let base = key.baseAddress {
      let order = memcmp(base, keys[0].start, common)
      if order != 0 { return Int(order) }
    }
    return key.count < length ? -1 : 0
  }

  /// The first position whose key is not less than `key`, and whether it is equal.
  @inline(__always)
  func lowerBound(_ key: UnsafeRawBufferPointer) -> (position: Int, isEqual: Bool) {
    let order = comparePrefix(key)
    if order != 0 { return (order < 0 ? 0 : count, false) }
    let head = Self.head(key, from: prefixLength)
    var low = 0
    var rest = count
    while rest > 0 {
      let half = rest >> 1
      let middle = low + half
      if heads[middle] < head {
        low = middle + 1
        rest -= half + 1
      } else {
        rest = half
      }
    }
    guard low < count, heads[low] == head else { return (low, false) }
    return lowerBoundAmongEqualHeads(key, head: head, from: low)
  }

  /// The same among the keys from `low` on whose head is `head`.
  @inline(__always)
  private func lowerBoundAmongEqualHeads(
    _ key: UnsafeRawBufferPointer,
    head: UInt64,
    from low: Int
  ) -> (position: Int, isEqual: Bool) {
    let order = compareKeys(keys[low].bytes, key)
    if order >= 0 { return (low, order == 0) }
    var low = low + 1
    var high = count
    while low < high {
      let middle = (low + high) >> 1
      if heads[middle] != head {
        high = middle
        continue
      }
      let order = compareKeys(keys[middle].bytes, key)
      if order == 0 { return (middle, true) }
      if order < 0 { low = middle + 1 } else { high = middle }
    }
    return (low, false)
  }

  /// Which child of an inner node covers `key`.
  @inline(__always)
  func childPosition(_ key: UnsafeRawBufferPointer) -> Int {
    let bound = lowerBound(key)
    return bound.isEqual ? bound.position + 1 : bound.position
  }
}

// Changing a node's keys.
extension IndexNode {
  /// Puts `key` at `position`, which must be its place, and keeps prefix and heads right.
  func insertKey(_ key: KeyPointer, at position: Int) {
    let count = count
    (heads + position + 1).update(from: heads + position, count: count - position)
    (keys + position + 1).update(from: keys + position, count: count - position)
    keys[position] = key
    self.count = count + 1
    let other = position == 0 ? 1 : 0
    if prefixLength > 0 && count > 0 && !sharesPrefix(key.bytes, keys[other]) {
      setPrefix(min(prefixLength, commonPrefixLength(key.bytes, keys[other].bytes)))
    } else {
      if count == 0 { prefixLength = 0 }
      heads[position] = Self.head(key.bytes, from: prefixLength)
    }
  }

  private func sharesPrefix(_ key: UnsafeRawBufferPointer, _ other: KeyPointer) -> Bool {
    guard key.count >= prefixLength, let base = key.baseAddress else { return false }
    return memcmp(base, other.start, prefixLength) == 0
  }

  func removeKey(at position: Int) {
    let after = count - position - 1
    (heads + position).update(from: heads + position + 1, count: after)
    (keys + position).update(from: keys + position + 1, count: after)
    count -= 1
  }

  /// Sets the shared prefix's length and every head to match.
  func setPrefix(_ length: Int) {
    prefixLength = length
    for position in 0..<count {
      heads[position] = Self.head(keys[position].bytes, from: length)
    }
  }

  /// Lengthens the prefix when the keys have come to share enough more for it to pay.
  func refreshPrefix() {
    guard count > 1 else { return }
    let shared = commonPrefixLength(keys[0].bytes, keys[count - 1].bytes)
    if shared >= prefixLength + 3 || shared < prefixLength { setPrefix(shared) }
  }

  /// Moves the keys from `position` on to the end of `target`, heads included when they mean
  /// the same there.
  func moveKeys(from position: Int, to target: IndexNode) {
    let moved = count - position
    let start = target.count
    (target.keys + start).update(from: keys + position, count: moved)
    (target.heads + start).update(from: heads + position, count: moved)
    target.count = start + moved
    count = position
  }
}

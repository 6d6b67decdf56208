import Base
import MVCC

#if canImport(Glibc)
import Glibc
#endif

/// The spans of keys that are watched, and for a key the spans that hold it.
///
/// Spans of a single key are found by a hash of the key. Ranges are nodes of a treap ordered by
/// where they begin and end, in which each node knows the farthest end below it: finding the ranges
/// around a key costs O(log n), and at most that again for each that is found.
package struct IntervalIndex: ~Copyable {
  var spans = Slab<Span>()
  private var singles = PlaceTable()
  private var root = nowhere
  /// From outside, so that nobody can choose ranges that make the tree deep.
  private let seed: UInt64
  /// Bytes that the spans take.
  package private(set) var byteCount = 0

  package init(seed: UInt64) {
    self.seed = seed
  }

  deinit {
    for place in 0..<spans.used { Glibc.free(spans[Int32(place)].key) }
  }

  /// How many distinct spans there are.
  package var count: Int { spans.count }

  /// The place of the span `[key, end)`; `key` alone when `end` is empty, everything from `key` on
  /// when it is one zero byte. Made when it is not there yet.
  package mutating func insert(
    key: UnsafeRawBufferPointer,
    end: UnsafeRawBufferPointer
  ) -> Int32 {
    let isSingle = end.isEmpty
    let hash = isSingle ? Self.hash(key) : 0
    let known = isSingle ? findSingle(key, hash) : findRange(key, end)
    if known != nowhere { return known }
    let span = Span(copying: key, end, hash: hash)
    byteCount += span.byteCount
    let place = spans.insert(span)
    if isSingle {
      singles.insert(hash, place)
    } else {
      spans[place].hash = priority(place)
      spans[place].farthest = place
      root = insert(place, below: root)
    }
    return place
  }

  /// Forgets a span.
  package mutating func remove(_ place: Int32) {
    let span = spans[place]
    byteCount -= span.byteCount
    if span.isSingle {
      singles.remove(span.hash, place)
    } else {
      root = remove(place, below: root)
    }
    Glibc.free(span.key)
    spans[place].key = nil
    spans.remove(place)
  }

  /// Calls `body` with every span that holds `key`: the single one first, then ranges by where they
  /// begin.
  @inline(__always)
  package func forEachSpan(holding key: UnsafeRawBufferPointer, _ body: (Int32) -> Void) {
    if singles.count > 0 {
      let single = findSingle(key, Self.hash(key))
      if single != nowhere { body(single) }
    }
    if root != nowhere { stab(root, key, body) }
  }

  @inline(__always)
  private static func hash(_ key: UnsafeRawBufferPointer) -> UInt32 {
    var hasher = Hasher()
    hasher.combine(bytes: key)
    return UInt32(truncatingIfNeeded: hasher.finalize())
  }

  @inline(__always)
  private func findSingle(_ key: UnsafeRawBufferPointer, _ hash: UInt32) -> Int32 {
    singles.find(hash) { spans[$0].isEqual(toKey: key) }
  }
}

// The tree of ranges.
extension IntervalIndex {
  private func priority(_ place: Int32) -> UInt32 {
    var mixed = seed &+ UInt64(UInt32(bitPattern: place)) &* 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return UInt32(truncatingIfNeeded: mixed >> 32)
  }

  /// Orders a range against the one at `place`: by their beginnings, then by their ends as bytes.
  private func compare(
    _ key: UnsafeRawBufferPointer,
    _ end: UnsafeRawBufferPointer,
    _ place: Int32
  ) -> Int {
    let order = compareKeys(key, spans[place].keyBytes)
    return order != 0 ? order : compareKeys(end, spans[place].endBytes)
  }

  private func findRange(
    _ key: UnsafeRawBufferPointer,
    _ end: UnsafeRawBufferPointer
  ) -> Int32 {
    var place = root
    while place != nowhere {
      let order = compare(key, end, place)
      if order == 0 { return place }
      place = order < 0 ? spans[place].left : spans[place].right
    }
    return nowhere
  }

  private func insert(_ place: Int32, below top: Int32) -> Int32 {
    guard top != nowhere else { return place }
    let isBefore = compare(spans[place].keyBytes, spans[place].endBytes, top) < 0
    if spans[place].hash > spans[top].hash {
      (spans[place].left, spans[place].right) = split(top, at: place)
      update(place)
      return place
    }
    if isBefore {
      spans[top].left = insert(place, below: spans[top].left)
    } else {
      spans[top].right = insert(place, below: spans[top].right)
    }
    update(top)
    return top
  }

  /// The ranges below `top` before and after the one at `place`.
  private func split(_ top: Int32, at place: Int32) -> (Int32, Int32) {
    guard top != nowhere else { return (nowhere, nowhere) }
    if compare(spans[place].keyBytes, spans[place].endBytes, top) < 0 {
      let (before, after) = split(spans[top].left, at: place)
      spans[top].left = after
      update(top)
      return (before, top)
    }
    let (before, after) = split(spans[top].right, at: place)
    spans[top].right = before
    update(top)
    return (top, after)
  }

  private func remove(_ place: Int32, below top: Int32) -> Int32 {
    precondition(top != nowhere, "span \(place) is not in the tree")
    if place == top { return join(spans[place].left, spans[place].right) }
    if compare(spans[place].keyBytes, spans[place].endBytes, top) < 0 {
      spans[top].left = remove(place, below: spans[top].left)
    } else {
      spans[top].right = remove(place, below: spans[top].right)
    }
    update(top)
    return top
  }

  /// One tree of two, all of the first before all of the second.
  private func join(_ left: Int32, _ right: Int32) -> Int32 {
    guard left != nowhere else { return right }
    guard right != nowhere else { return left }
    if spans[left].hash > spans[right].hash {
      spans[left].right = join(spans[left].right, right)
      update(left)
      return left
    }
    spans[right].left = join(left, spans[right].left)
    update(right)
    return right
  }

  private func update(_ place: Int32) {
    spans[place].farthest = place
    widen(place, by: spans[place].left)
    widen(place, by: spans[place].right)
  }

  private func widen(_ place: Int32, by child: Int32) {
    guard child != nowhere else { return }
    let other = spans[child].farthest
    if endsBefore(spans[place].farthest, other) { spans[place].farthest = other }
  }

  private func endsBefore(_ left: Int32, _ right: Int32) -> Bool {
    if spans[left].isUnbounded { return false }
    return spans[right].isUnbounded
      || compareKeys(spans[left].endBytes, spans[right].endBytes) < 0
  }

  @inline(__always)
  private func ends(_ place: Int32, after key: UnsafeRawBufferPointer) -> Bool {
    spans[place].isUnbounded || compareKeys(spans[place].endBytes, key) > 0
  }

  private func stab(_ place: Int32, _ key: UnsafeRawBufferPointer, _ body: (Int32) -> Void) {
    guard ends(spans[place].farthest, after: key) else { return }
    if spans[place].left != nowhere { stab(spans[place].left, key, body) }
    guard compareKeys(spans[place].keyBytes, key) <= 0 else { return }
    if ends(place, after: key) { body(place) }
    if spans[place].right != nowhere { stab(spans[place].right, key, body) }
  }
}

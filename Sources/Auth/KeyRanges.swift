/// A set of keys as disjoint ranges in order, for the question whether it covers a whole range.
package struct KeyRanges: Sendable, Equatable {
  /// `end` is not part of the range; nil: there is no end.
  private struct Range: Sendable, Equatable {
    var start: [UInt8]
    var end: [UInt8]?
  }

  private var ranges: [Range] = []

  package init() {}

  /// The union of the keys of some permissions.
  package init(_ permissions: [Permission]) {
    let parts =
      permissions
      .compactMap(Self.range)
      .sorted { $0.start.lexicographicallyPrecedes($1.start) }
    for part in parts { append(part) }
  }

  /// The keys of a permission; nil when there are none.
  private static func range(_ permission: Permission) -> Range? {
    let (key, end) = (permission.key, permission.rangeEnd)
    if end.isEmpty { return Range(start: key, end: key + [0]) }
    if end == [0] { return Range(start: key, end: nil) }
    return key.lexicographicallyPrecedes(end) ? Range(start: key, end: end) : nil
  }

  /// Adds a range that starts no earlier than those before it.
  private mutating func append(_ next: Range) {
    guard let last = ranges.last else { return ranges.append(next) }
    guard let lastEnd = last.end else { return }
    // Ranges that touch become one: a request may reach over the border.
    if lastEnd.lexicographicallyPrecedes(next.start) { return ranges.append(next) }
    if let end = next.end, !lastEnd.lexicographicallyPrecedes(end) { return }
    ranges[ranges.count - 1].end = next.end
  }

  /// Whether every key that a request names is in the set. `rangeEnd` as requests have it: empty for
  /// `key` alone, `\0` for every key from it on. A range that ends before it starts has no keys, and
  /// counts as `key` alone.
  package func cover(_ key: UnsafeRawBufferPointer, _ rangeEnd: UnsafeRawBufferPointer) -> Bool {
    guard let range = lastStarting(atOrBefore: key) else { return false }
    guard let end = range.end else { return true }
    guard Self.compare(key, end) < 0 else { return false }
    if rangeEnd.isEmpty { return true }
    if rangeEnd.count == 1, rangeEnd[0] == 0 { return false }
    return Self.compare(rangeEnd, end) <= 0
  }

  private func lastStarting(atOrBefore key: UnsafeRawBufferPointer) -> Range? {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if Self.compare(key, ranges[middle].start) >= 0 { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : ranges[low - 1]
  }

  /// Negative, zero or positive as `left` comes before, is, or comes after `right`.
  private static func compare(_ left: UnsafeRawBufferPointer, _ right: [UInt8]) -> Int {
    let count = min(left.count, right.count)
    for index in 0..<count where left[index] != right[index] {
      return Int(left[index]) - Int(right[index])
    }
    return left.count - right.count
  }
}

#if canImport(Glibc)
import Glibc
#endif

/// Which keys a request means, by the rules of `key` and `range_end`.
///
/// Borrows the bytes: valid while the request's memory is.
package struct KeySpan {
  /// The three shapes that `range_end` gives a span.
  package enum Shape {
    /// One key.
    case single
    /// `[key, end)`; nothing when `end <= key`.
    case bounded
    /// Every key from `key` on.
    case unbounded
  }

  package let key: UnsafeRawBufferPointer
  package let end: UnsafeRawBufferPointer
  package let shape: Shape

  /// `rangeEnd` empty: `key` alone; one zero byte: from `key` on; else up to, without, `rangeEnd`.
  package init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer) {
    self.key = key
    end = rangeEnd
    if rangeEnd.isEmpty {
      shape = .single
    } else if rangeEnd.count == 1 && rangeEnd[0] == 0 {
      shape = .unbounded
    } else {
      shape = .bounded
    }
  }

  /// The whole store.
  package static var all: KeySpan { KeySpan(allFrom: UnsafeRawBufferPointer(start: nil, count: 0)) }

  private init(allFrom key: UnsafeRawBufferPointer) {
    self.key = key
    end = UnsafeRawBufferPointer(start: nil, count: 0)
    shape = .unbounded
  }

  /// Whether `candidate`, known not to lie before `key`, lies past the span's end.
  @inline(__always)
  func isPast(_ candidate: UnsafeRawBufferPointer) -> Bool {
    switch shape {
    case .unbounded: false
    case .bounded: compareKeys(candidate, end) >= 0
    case .single: candidate.count != key.count || compareKeys(candidate, key) != 0
    }
  }
}

/// Compares as unsigned bytes, a prefix before what it is a prefix of: negative, 0 or positive.
@inline(__always)
package func compareKeys(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
  let common = min(left.count, right.count)
  if common > 0, let leftBase = left.baseAddress, let rightBase = right.baseAddress {
    let order = memcmp(leftBase, rightBase, common)
    if order != 0 { return Int(order) }
  }
  return left.count - right.count
}

/// How many leading bytes two keys share.
func commonPrefixLength(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
  let limit = min(left.count, right.count)
  var length = 0
  while length < limit && left[length] == right[length] { length += 1 }
  return length
}

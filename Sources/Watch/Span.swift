import Base
import MVCC

#if canImport(Glibc)
import Glibc
#endif

/// A watched span of keys: a record of the index.
struct Span: BitwiseCopyable {
  /// The key's bytes and, right after them, those of the end.
  var key: UnsafeMutableRawPointer?
  var keyCount: UInt32
  var endCount: UInt32
  /// Hash of a single key; a range's priority in the tree.
  var hash: UInt32
  // The tree: of ranges only.
  var left = nowhere
  var right = nowhere
  /// The range below here, this one included, that ends last.
  var farthest = nowhere
  /// The first of those who watch the span.
  var head = nowhere
  // The hits of the block at hand, by their order; `nowhere` between blocks.
  var firstHit = nowhere
  var lastHit = nowhere

  init(copying key: UnsafeRawBufferPointer, _ end: UnsafeRawBufferPointer, hash: UInt32) {
    let count = max(key.count + end.count, 1)
    guard let memory = malloc(count) else { preconditionFailure("out of memory") }
    if let base = key.baseAddress { memory.copyMemory(from: base, byteCount: key.count) }
    if let base = end.baseAddress {
      (memory + key.count).copyMemory(from: base, byteCount: end.count)
    }
    self.key = memory
    keyCount = UInt32(key.count)
    endCount = UInt32(end.count)
    self.hash = hash
  }

  /// Bytes of memory that the span takes, those of the allocator and the tables included.
  var byteCount: Int {
    MemoryLayout<Span>.stride + Int(keyCount) + Int(endCount) + Span.overheadBytes
  }

  private static let overheadBytes = 32

  var isSingle: Bool { endCount == 0 }

  @inline(__always)
  var keyBytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: key, count: Int(keyCount))
  }

  @inline(__always)
  var endBytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: key.map { $0 + Int(keyCount) }, count: Int(endCount))
  }

  /// Whether the span has no end: its end is one zero byte.
  @inline(__always)
  var isUnbounded: Bool { endCount == 1 && endBytes[0] == 0 }

  @inline(__always)
  func isEqual(toKey other: UnsafeRawBufferPointer) -> Bool {
    Int(keyCount) == other.count && compareKeys(keyBytes, other) == 0
  }
}

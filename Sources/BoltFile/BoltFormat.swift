import Glibc

// A bbolt file (version 2), as far as it is read and written here. Integers are little endian.
//
// The file is an array of pages; the page size is in the meta pages. Pages 0 and 1 are meta pages, and
// of those whose checksum holds the one with the higher transaction counts. A page begins with
//
//     0   8   its number
//     8   2   flags: 1 branch, 2 leaf, 4 meta, 16 freelist
//     10  2   how many elements
//     12  4   how many pages follow that belong to this one (a run)
//
// and then holds, from byte 16 on:
//
// - meta: magic (4 bytes), version (4), page size (4), flags (4), the root bucket (16: page of its tree,
//   sequence), freelist's page (8; all ones when there is none), number of pages (8),
//   transaction (8), FNV-1a over the 56 bytes before (8).
// - leaf: elements of 16 bytes: flags (4; 1 for a bucket), where its key is, counted from the
//   element (4), length of the key (4), length of the value, which follows the key (4).
// - branch: elements of 16 bytes: where its key is, counted from the element (4), length of the
//   key (4), page of the child (8). No key below the child is smaller.
// - freelist: page numbers (8 each), ascending. A count of 65535 says that the first is the real count.
//
// A bucket is the value of a leaf element: page of its tree (8), sequence (8). With page 0 the tree is
// one leaf, which follows at once (inline). A bucket's own buckets are not used by etcd.

/// Numbers of the format.
enum BoltFormat {
  static let magic: UInt32 = 0xED0C_DAED
  static let version: UInt32 = 2

  static let pageHeaderBytes = 16
  static let elementBytes = 16
  static let bucketHeaderBytes = 16
  static let metaBytes = 64
  static let metaChecksumOffset = 56
  static let pageNumberBytes = 8

  static let branchFlag: UInt16 = 1
  static let leafFlag: UInt16 = 2
  static let metaFlag: UInt16 = 4
  static let freelistFlag: UInt16 = 16
  static let bucketElementFlag: UInt32 = 1
  static let noFreelist = UInt64.max
  /// The count of a freelist that is longer than a count can say.
  static let longCount = 0xFFFF

  /// The page sizes there can be, in bytes.
  static let pageBytesRange = 1024...(1 << 16)
  /// The levels that a tree may have; with the smallest pages and two children each it would take more
  /// than any disk to get there.
  static let depthMax = 32
  /// The longest run of pages that is read at once, in bytes: an element is at most as long.
  static let runBytesMax = 512 << 20
  /// The longest key, in bytes.
  static let keyBytesMax = 32768

  static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash
  }
}

extension UnsafeRawBufferPointer {
  /// The integer at `offset`, which must lie within the bytes.
  @inline(__always)
  func integer<Number: FixedWidthInteger>(at offset: Int, as type: Number.Type) -> Number {
    precondition(offset >= 0 && offset + MemoryLayout<Number>.size <= count)
    return Number(littleEndian: loadUnaligned(fromByteOffset: offset, as: Number.self))
  }

  /// The bytes of `range`, which must lie within these.
  @inline(__always)
  func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: self[range])
  }

  /// Whether these bytes come before `other` in bbolt's order.
  @inline(__always)
  func precedes(_ other: UnsafeRawBufferPointer) -> Bool {
    let common = Swift.min(count, other.count)
    if common > 0, let left = baseAddress, let right = other.baseAddress {
      let order = memcmp(left, right, common)
      if order != 0 { return order < 0 }
    }
    return count < other.count
  }
}

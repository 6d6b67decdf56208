import Base
import CLMDB

// The file is one LMDB environment with one (the main) database, so that starting a transaction
// looks nothing up. Its keys, in LMDB's order of bytes:
//
//   "f"            the format version: UInt32, little endian
//   "m" + name     metadata: the bytes as given
//   16 bytes       a revision: main + 2^63, then sub, both big endian. The first byte is 0x80 or
//                  more, so revisions sort behind the metadata and new ones go to the very end.
//                  Value: one byte of flags (bit 0: tombstone), then the encoded KeyValue.
//
// A torn write cannot be seen: LMDB writes changed pages to free places, syncs, then switches to
// them by writing one of two meta pages, which lies within one sector, and syncs again.

/// The key under which a revision is stored.
struct RevisionKey {
  static let byteCount = 16
  static let formatKey: [UInt8] = Array("f".utf8)
  static let formatVersion: UInt32 = 1

  private let words: (UInt64, UInt64)

  @inline(__always)
  init(_ revision: ChangeRevision) {
    words = (
      (UInt64(bitPattern: revision.main) ^ 1 << 63).bigEndian,
      UInt64(bitPattern: revision.sub).bigEndian
    )
  }

  @inline(__always)
  func withValue<Result>(_ body: (inout MDB_val) -> Result) -> Result {
    var words = words
    return withUnsafeMutableBytes(of: &words) { bytes in
      var value = MDB_val(mv_size: Self.byteCount, mv_data: bytes.baseAddress)
      return body(&value)
    }
  }

  static func metadataKey(_ name: String) -> [UInt8] {
    Array("m".utf8) + Array(name.utf8)
  }

  /// The name in a key that `metadataKey` made, or nil for another key.
  static func metadataName(of key: UnsafeRawBufferPointer) -> String? {
    guard key.first == UInt8(ascii: "m") else { return nil }
    return String(decoding: key.dropFirst(), as: UTF8.self)
  }

  /// The revision that a key of the database stands for, or nil for another key.
  @inline(__always)
  static func revision(of key: MDB_val) -> ChangeRevision? {
    guard key.mv_size == byteCount, let data = key.mv_data,
      data.load(as: UInt8.self) >= 0x80
    else { return nil }
    let main = UInt64(bigEndian: data.loadUnaligned(as: UInt64.self)) ^ 1 << 63
    let sub = UInt64(bigEndian: data.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    return ChangeRevision(main: Int64(bitPattern: main), sub: Int64(bitPattern: sub))
  }

  /// The flags and bytes of a stored value, or nil when it is too short to be one.
  @inline(__always)
  static func value(of data: MDB_val) -> RevisionValue? {
    guard data.mv_size >= 1, let start = data.mv_data else { return nil }
    return RevisionValue(
      bytes: UnsafeRawBufferPointer(start: start + 1, count: data.mv_size - 1),
      tombstone: start.load(as: UInt8.self) & 1 == 1
    )
  }
}

/// Calls `body` with bytes as LMDB takes them.
@inline(__always)
func withDatabaseValue<Result>(
  _ bytes: [UInt8],
  _ body: (inout MDB_val) -> Result
) -> Result {
  bytes.withUnsafeBytes { bytes in
    var value = MDB_val(
      mv_size: bytes.count,
      mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress)
    )
    return body(&value)
  }
}

import Crypto
import Glibc
import MVCC

/// How a part of a snapshot looks between members:
///
///     0   CRC32C of the rest, 4 bytes, little endian
///     4   records, as `LMDBExport` writes them
enum SnapshotPart {
  static let headBytes = 4

  /// Puts the sum in front of the records that stand behind the room for it.
  static func seal(_ part: UnsafeMutableRawBufferPointer) {
    let sum = Checksum.add(UnsafeRawBufferPointer(rebasing: part[headBytes...]), to: 0)
    part.storeBytes(of: sum.littleEndian, as: UInt32.self)
  }

  /// The records of a part that came as it was sent; nil when it did not.
  static func records(of part: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard part.count >= headBytes else { return nil }
    let records = UnsafeRawBufferPointer(rebasing: part[headBytes...])
    let sum = UInt32(littleEndian: part.loadUnaligned(as: UInt32.self))
    return Checksum.add(records, to: 0) == sum ? records : nil
  }
}

/// What tells that all parts of a snapshot came, each once and in order: the SHA-256 over the length of
/// each, as 4 bytes, little endian, and the sum in front of it. (Over all their bytes it would take more
/// of both members' time than all else that they do with them.)
struct SnapshotDigest {
  private var sha256 = SHA256()

  mutating func add(_ part: UnsafeRawBufferPointer) {
    let head = UnsafeRawBufferPointer(rebasing: part.prefix(SnapshotPart.headBytes))
    withUnsafeBytes(of: UInt32(part.count).littleEndian) { sha256.update(bufferPointer: $0) }
    sha256.update(bufferPointer: head)
  }

  /// Of all that was added.
  var value: [UInt8] { Array(sha256.finalize()) }
}

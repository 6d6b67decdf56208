import Base

/// What the store itself keeps beside the data, in the same transaction: 36 bytes, little endian.
///
///     0   format, 1
///     8   the newest revision
///     16  the compacted revision, -1 for none
///     24  the compaction whose revisions have all been removed, -1 for none
///     32  the state hash
package struct StoredState: Equatable, Sendable {
  package static let key = "mvcc.state"
  private static let format: UInt64 = 1
  private static let encodedBytes = 36

  package var current: Int64 = 1
  package var compacted: Int64 = -1
  package var compactionFinished: Int64 = -1
  var stateHash: UInt32 = 0

  package init() {}

  package func encoded() -> [UInt8] {
    var writer = ByteWriter(capacity: Self.encodedBytes)
    writer.append(integer: Self.format.littleEndian)
    writer.append(integer: current.littleEndian)
    writer.append(integer: compacted.littleEndian)
    writer.append(integer: compactionFinished.littleEndian)
    writer.append(integer: stateHash.littleEndian)
    return [UInt8](writer.bytes)
  }

  /// Raises the newest revision by `count`, and with `compacts` marks everything up to there as
  /// compacted. Returns false, with nothing changed, when there are no such revisions.
  package mutating func advance(by count: UInt64, compacts: Bool) -> Bool {
    let (raised, overflows) = current.addingReportingOverflow(Int64(clamping: count))
    guard !overflows, count < UInt64(Int64.max) else { return false }
    current = raised
    if compacts { compacted = raised }
    return true
  }

  /// Returns nil when the bytes are not what `encoded` makes.
  package init?(decoding bytes: [UInt8]) {
    guard bytes.count == Self.encodedBytes else { return nil }
    let format = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self).littleEndian }
    guard format == Self.format else { return nil }
    bytes.withUnsafeBytes {
      current = Int64(littleEndian: $0.loadUnaligned(fromByteOffset: 8, as: Int64.self))
      compacted = Int64(littleEndian: $0.loadUnaligned(fromByteOffset: 16, as: Int64.self))
      compactionFinished = Int64(littleEndian: $0.loadUnaligned(fromByteOffset: 24, as: Int64.self))
      stateHash = UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 32, as: UInt32.self))
    }
    guard current >= 1, compacted >= -1, compacted <= current else { return nil }
  }
}

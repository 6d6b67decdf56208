import Base
package import Lease
package import Storage

// Leases in the store's metadata: one key for each, "lease." and its ID in hexadecimal. The value is
// 24 bytes, little endian:
//
//     0   the time to live that was granted, in seconds
//     8   the seconds left at the last checkpoint, 0 for none
//     16  the log index of the grant
//
// Only leases that changed are written at a flush. Which keys hang on them the pairs say themselves.

extension LeaseRegistry {
  static let keyPrefix = "lease."

  /// What to store for the leases that changed since the last call. Apply thread.
  func takeMetadata() -> MetadataChanges {
    var changes: MetadataChanges = []
    takeChanges { lease, stored in
      changes.append((Self.keyPrefix + lease.description, stored?.encoded()))
    }
    return changes
  }

  /// Adds the leases that `storage` holds. Before the store is opened, which attaches the keys.
  ///
  /// Throws `.corrupt` for a record that does not read back.
  package func restore(from storage: TieredStorage) throws(StorageError) {
    var damaged: String?
    try storage.forEachMetadata(prefix: Self.keyPrefix) { key, value in
      guard let stored = StoredLease(key: key.dropFirst(Self.keyPrefix.count), value),
        restore(stored)
      else {
        damaged = key
        return
      }
    }
    if let damaged { throw .corrupt(path: "", reason: "\(damaged) does not read back") }
  }
}

extension StoredLease {
  private static let recordBytes = 24

  func encoded() -> [UInt8] {
    var writer = ByteWriter(capacity: Self.recordBytes)
    writer.append(integer: grantedSeconds.littleEndian)
    writer.append(integer: remainingSeconds.littleEndian)
    writer.append(integer: grantedAt.rawValue.littleEndian)
    return [UInt8](writer.bytes)
  }

  init?(key: Substring, _ value: UnsafeRawBufferPointer) {
    guard let id = UInt64(key, radix: 16), value.count == Self.recordBytes else { return nil }
    self.init(
      id: LeaseID(Int64(bitPattern: id)),
      grantedSeconds: Int64(littleEndian: value.loadUnaligned(as: Int64.self)),
      remainingSeconds: Int64(
        littleEndian: value.loadUnaligned(fromByteOffset: 8, as: Int64.self)
      ),
      grantedAt: LogIndex(
        UInt64(littleEndian: value.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      )
    )
  }
}

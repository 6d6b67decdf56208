package import Base
package import Lease
package import Storage

// Leases in the store's metadata: one key for each, "lease." and the log index of its grant in 16
// hexadecimal digits. So new ones go to one end, and those that expire together lie together. The
// value is 24 bytes, little endian:
//
//     0   the lease's ID
//     8   the time to live that was granted, in seconds
//     16  the seconds left at the last checkpoint, 0 for none
//
// Only leases that changed are written at a flush. Which keys hang on them the pairs say themselves.

extension LeaseRegistry {
  package static let keyPrefix = "lease."
  private static let keyDigits = 16

  /// What to store for the leases that changed since the last call. Apply thread.
  func takeMetadata() -> MetadataChanges {
    var changes: MetadataChanges = []
    takeChanges { grantedAt, stored in
      changes.append((Self.metadataKey(grantedAt), stored?.encoded()))
    }
    return changes
  }

  /// Where a lease is stored that the entry `grantedAt` granted.
  package static func metadataKey(_ grantedAt: LogIndex) -> String {
    let number = String(grantedAt.rawValue, radix: 16)
    return keyPrefix + String(repeating: "0", count: keyDigits - number.count) + number
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

  package func encoded() -> [UInt8] {
    var writer = ByteWriter(capacity: Self.recordBytes)
    writer.append(integer: id.rawValue.littleEndian)
    writer.append(integer: grantedSeconds.littleEndian)
    writer.append(integer: remainingSeconds.littleEndian)
    return [UInt8](writer.bytes)
  }

  /// Reads a record; `key` is its key without the prefix.
  package init?(key: Substring, _ value: UnsafeRawBufferPointer) {
    guard let grantedAt = UInt64(key, radix: 16), value.count == Self.recordBytes else {
      return nil
    }
    func number(at offset: Int) -> Int64 {
      Int64(littleEndian: value.loadUnaligned(fromByteOffset: offset, as: Int64.self))
    }
    self.init(
      id: LeaseID(number(at: 0)),
      grantedSeconds: number(at: 8),
      remainingSeconds: number(at: 16),
      grantedAt: LogIndex(grantedAt)
    )
  }
}

import Base

// The buckets of etcd's database, and how it writes numbers there. See `EtcdContent` and `EtcdExport`
// for what is in them.
enum EtcdBucket {
  static let alarm = "alarm"
  static let auth = "auth"
  static let authRoles = "authRoles"
  static let authUsers = "authUsers"
  static let cluster = "cluster"
  static let key = "key"
  static let lease = "lease"
  static let members = "members"
  static let membersRemoved = "members_removed"
  static let meta = "meta"
}

enum EtcdKey {
  static let consistentIndex = "consistent_index"
  static let term = "term"
  static let confState = "confState"
  static let scheduledCompaction = "scheduledCompactRev"
  static let finishedCompaction = "finishedCompactRev"
  static let storageVersion = "storageVersion"
  static let authEnabled = "authEnabled"
  static let authRevision = "authRevision"
}

/// A revision as a key: main (8 bytes, big endian), "_", sub (8), and "t" behind a tombstone's.
struct EtcdRevision {
  var revision: ChangeRevision
  var isTombstone: Bool

  static let bytes = 17
  private static let separator = UInt8(ascii: "_")
  private static let tombstoneMark = UInt8(ascii: "t")

  init(_ revision: ChangeRevision, isTombstone: Bool = false) {
    self.revision = revision
    self.isTombstone = isTombstone
  }

  /// Nil when the bytes are no revision.
  init?(_ key: UnsafeRawBufferPointer) {
    isTombstone = key.count == Self.bytes + 1
    guard key.count == Self.bytes || (isTombstone && key[Self.bytes] == Self.tombstoneMark),
      key[8] == Self.separator
    else { return nil }
    revision = ChangeRevision(
      main: Int64(bigEndian: key.loadUnaligned(as: Int64.self)),
      sub: Int64(bigEndian: key.loadUnaligned(fromByteOffset: 9, as: Int64.self))
    )
    guard revision.main >= 0, revision.sub >= 0 else { return nil }
  }

  /// Calls `body` with the key.
  @inline(__always)
  func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    var bytes: (Int64, UInt64, UInt64) = (revision.main.bigEndian, 0, 0)
    let result = withUnsafeMutableBytes(of: &bytes) { bytes in
      bytes.storeBytes(of: Self.separator, toByteOffset: 8, as: UInt8.self)
      bytes.storeBytes(of: revision.sub.bigEndian, toByteOffset: 9, as: Int64.self)
      bytes.storeBytes(of: Self.tombstoneMark, toByteOffset: Self.bytes, as: UInt8.self)
      let count = isTombstone ? Self.bytes + 1 : Self.bytes
      let key = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<count])
      return Swift.Result { () throws(Failure) in try body(key) }
    }
    return try result.get()
  }

  var key: [UInt8] { withBytes { Array($0) } }
}

/// A number of 8 bytes, big endian, as etcd writes them.
func etcdBytes(_ number: UInt64) -> [UInt8] {
  withUnsafeBytes(of: number.bigEndian) { Array($0) }
}

/// Nil when the bytes are not 8.
func etcdNumber(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
  bytes.count == 8 ? UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)) : nil
}

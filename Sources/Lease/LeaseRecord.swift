package import Base

/// One lease in the table. Fields of the leader's alone are marked so; they mean nothing elsewhere.
struct LeaseRecord {
  static let none = UInt32.max

  struct Flags: OptionSet {
    let rawValue: UInt8

    /// The slot holds a lease.
    static let isGranted = Flags(rawValue: 1)
    /// Changed since the last `takeChanges`, and listed there.
    static let isChanged = Flags(rawValue: 2)
    /// Leader: handed out to be revoked; no renewal brings it back.
    static let isExpiring = Flags(rawValue: 4)
    /// Leader: a checkpoint of it was handed out and is not applied yet.
    static let isBeingCheckpointed = Flags(rawValue: 8)
  }

  var stored: StoredLease
  /// Leader: nanoseconds of its clock. Never before `LeaseHeap.Entry.time` of the lease.
  var expiry: UInt64 = 0
  /// The first of its keys in the `KeyTable`.
  var firstKey = LeaseRecord.none
  var keyCount: UInt32 = 0
  /// Leader: the lease's place in the heap.
  var heapPosition = LeaseRecord.none
  var flags: Flags = []

  /// What is left of the lease for a leader that knows of no renewal, in seconds.
  var knownSeconds: Int64 {
    stored.remainingSeconds > 0 ? stored.remainingSeconds : stored.grantedSeconds
  }
}

/// The part of a lease that every member knows and that outlives the process.
package struct StoredLease: Hashable, Sendable {
  package var id: LeaseID
  /// The time to live that was granted, in seconds.
  package var grantedSeconds: Int64
  /// How many seconds were left at the last checkpoint; 0 when there was none since the last
  /// renewal.
  package var remainingSeconds: Int64
  /// The entry that granted it: tells it from an earlier lease with the same ID.
  package var grantedAt: LogIndex

  package init(
    id: LeaseID,
    grantedSeconds: Int64,
    remainingSeconds: Int64 = 0,
    grantedAt: LogIndex
  ) {
    self.id = id
    self.grantedSeconds = grantedSeconds
    self.remainingSeconds = remainingSeconds
    self.grantedAt = grantedAt
  }
}

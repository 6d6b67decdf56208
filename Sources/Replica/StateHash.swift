import Auth
package import Base
import Lease
import MVCC
import Proto
import Raft

/// The rolling hash of a member's state: what members compare at equal applied indexes (P3).
///
/// 64 bits. The lower half is `Store.stateHash`: CRC32C over every change that was put into the store,
/// each with its revision, the whole stored pair and whether it is a tombstone, and over every
/// compaction. The upper half is CRC32C over what the log changed beside the store: for each
/// entry that is no plain change of keys, its index, operation and outcome, what it asked for, and what
/// came of it (number of leases, auth revision, alarms). So it covers the effects of the entries, not
/// the entries: their bytes have checksums in the log and on their way.
///
/// Both halves are written with the applied index, and only ever continued: two members that differ
/// once differ for ever.
package struct StateHash: Equatable, Sendable {
  package var index: LogIndex
  package var hash: UInt64

  package init(index: LogIndex, hash: UInt64) {
    self.index = index
    self.hash = hash
  }

  static let metadataKey = "replica.hash"

  static func encoded(_ tables: UInt32) -> [UInt8] {
    withUnsafeBytes(of: tables.littleEndian) { [UInt8]($0) }
  }

  static func decode(_ bytes: [UInt8]) -> UInt32 {
    var hash: UInt32 = 0
    for byte in bytes.reversed() { hash = hash << 8 | UInt32(byte) }
    return hash
  }
}

/// The hashes at the applied indexes of late, in memory: each of the last few thousand, and one in a
/// few hundred of those before. Two members whose applied indexes are not too far apart have one in
/// common.
struct HashHistory {
  private static let recentCount: UInt64 = 1 << 14
  private static let markCount: UInt64 = 1 << 12
  /// The distance of marks.
  private static let markSpacing: UInt64 = 1 << 9

  private var recent: [StateHash] = []
  private var marks: [StateHash] = []
  private(set) var newest: StateHash?

  mutating func note(_ hash: StateHash) {
    if recent.isEmpty {
      let none = StateHash(index: .zero, hash: 0)
      recent = Array(repeating: none, count: Int(Self.recentCount))
      marks = Array(repeating: none, count: Int(Self.markCount))
    }
    let index = hash.index.rawValue
    recent[Int(index & (Self.recentCount - 1))] = hash
    if index & (Self.markSpacing - 1) == 0 {
      marks[Int((index / Self.markSpacing) & (Self.markCount - 1))] = hash
    }
    newest = hash
  }

  func hash(at index: LogIndex) -> UInt64? {
    guard !recent.isEmpty, index > .zero else { return nil }
    let number = index.rawValue
    let near = recent[Int(number & (Self.recentCount - 1))]
    if near.index == index { return near.hash }
    let mark = marks[Int((number / Self.markSpacing) & (Self.markCount - 1))]
    return mark.index == index ? mark.hash : nil
  }

  mutating func removeAll() { self = HashHistory() }
}

// The hash of one machine.
extension ReplicaMachine {
  /// Whether this member was found to differ from the others.
  package var isCorrupt: Bool {
    alarms.contains(AlarmTable.Alarm(configuration.memberID, .corrupt))
  }

  /// The store's newest revision.
  package var revision: Revision { store.currentRevision }

  /// As of the last applied entry.
  package var stateHash: StateHash {
    StateHash(index: applied.index, hash: UInt64(tablesHash) << 32 | UInt64(store.stateHash))
  }

  /// The hash at an index applied not too long ago; nil when it is not known (any more).
  package func stateHash(at index: LogIndex) -> UInt64? {
    index == applied.index ? stateHash.hash : hashes.hash(at: index)
  }

  /// The highest index not above `index` at which others that are as far are likely to know theirs.
  package static func commonIndex(notAbove index: LogIndex) -> LogIndex {
    LogIndex(index.rawValue & ~(HashHistory.markDistance - 1))
  }

  /// Within a batch, after an entry.
  @inline(__always)
  func noteHash(of index: LogIndex) {
    hashes.note(
      StateHash(index: index, hash: UInt64(tablesHash) << 32 | UInt64(store.stateHash))
    )
  }

  /// Notes what an entry did beside the store. `detail` tells what came of it.
  func noteInHash(_ operation: UInt8, _ request: UnsafeRawBufferPointer, _ detail: [UInt8]) {
    let words = (applying.rawValue.littleEndian, operation, lastReplyFailed)
    withUnsafeBytes(of: words) { tablesHash = Checksum.add($0, to: tablesHash) }
    tablesHash = Checksum.add(request, to: tablesHash)
    detail.withUnsafeBytes { tablesHash = Checksum.add($0, to: tablesHash) }
  }

  /// What tells that an operation beside the store had the same effect on two members.
  func hashDetail(_ operation: ReplicatedOperation) -> [UInt8]? {
    switch operation {
    case .put, .deleteRange, .txn, .compaction:
      // The store's own hash has them.
      nil
    case .leaseGrant, .leaseRevoke, .leaseCheckpoint, .leaseUpkeep:
      withUnsafeBytes(of: UInt64(leases.count).littleEndian) { [UInt8]($0) }
    case .alarm:
      alarms.encoded()
    case .clusterMemberAttributes:
      []
    case .downgradeInfoSet:
      DowngradeJob.encoded(downgrade)
    default:
      withUnsafeBytes(of: (auth.revision.littleEndian, auth.isEnabled)) { [UInt8]($0) }
    }
  }
}

extension HashHistory {
  static var markDistance: UInt64 { markSpacing }
}

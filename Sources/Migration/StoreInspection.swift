import Auth
import Base
import Lease
import MVCC
import Membership
package import Proto
import Replica
import Storage

/// Figures about a store.
package struct StoreFigures: Sendable {
  package var revision: Int64
  package var compacted: Int64
  package var compactionFinished: Int64
  /// Stored revisions, and how many of them are tombstones.
  package var revisionCount = 0
  package var tombstoneCount = 0
  /// Bytes of all stored pairs, and of the longest.
  package var pairBytes = 0
  package var longestPairBytes = 0
  package var leaseCount: Int
  package var userCount: Int
  package var roleCount: Int
  package var isAuthEnabled: Bool
  package var memberCount: Int
  /// The log's entry that was applied last; nil in a file that no member has used yet.
  package var appliedIndex: UInt64?
  package var appliedTerm: UInt64?
  /// Requests in the log that are not in the store yet.
  package var unappliedCount: Int
  /// Of the file, in bytes.
  package var fileBytes: Int
  package var usedBytes: Int
}

extension OfflineStore {
  /// Reads every stored revision once.
  package func figures() throws -> StoreFigures {
    var figures = StoreFigures(
      revision: summary.state.current,
      compacted: summary.state.compacted,
      compactionFinished: summary.state.compactionFinished,
      leaseCount: summary.leaseCount,
      userCount: summary.auth.users.count,
      roleCount: summary.auth.roles.count,
      isAuthEnabled: summary.auth.isEnabled,
      memberCount: summary.metadata?.members.members.count ?? 0,
      appliedIndex: summary.metadata?.applied.index.rawValue,
      appliedTerm: summary.metadata?.applied.term.rawValue,
      unappliedCount: unappliedCount,
      fileBytes: base.bytesOnDisk,
      usedBytes: base.bytesInUse
    )
    try base.scanAll { _, isTombstone, value in
      figures.revisionCount += 1
      if isTombstone { figures.tombstoneCount += 1 }
      figures.pairBytes += value.count
      figures.longestPairBytes = max(figures.longestPairBytes, value.count)
      return true
    }
    return figures
  }

  /// Visits the records beside the keys: name, size in bytes, and what it says where that is text.
  package func forEachRecord(
    _ visit: (_ name: String, _ sizeBytes: Int, _ text: String) -> Void
  ) throws {
    try base.forEachMetadata(prefix: "") { name, value in
      visit(name, value.count, text(of: name, value))
    }
  }

  private func text(of name: String, _ value: UnsafeRawBufferPointer) -> String {
    if name.hasPrefix(LeaseRegistry.keyPrefix),
      let lease = StoredLease(key: name.dropFirst(LeaseRegistry.keyPrefix.count), value)
    {
      let left = lease.remainingSeconds > 0 ? ", \(lease.remainingSeconds) s left" : ""
      return "lease \(lease.id), \(lease.grantedSeconds) s\(left)"
    }
    switch name {
    case StoredState.key:
      return "revision \(summary.state.current), compacted \(summary.state.compacted)"
    case "replica.applied":
      guard let mark = summary.metadata?.applied else { return "" }
      return "entry \(mark.index) of term \(mark.term)"
    case "replica.members":
      let members = summary.metadata?.members.members ?? []
      return members.map { "\($0.id)=\($0.name)" }.joined(separator: " ")
    case "replica.auth":
      return "\(summary.auth.isEnabled ? "on" : "off"), revision \(summary.auth.revision), "
        + "\(summary.auth.users.count) users, \(summary.auth.roles.count) roles"
    default: return ""
    }
  }

  /// How much of an answer is in memory at a time, in bytes.
  private static let pieceBytesMax = 1 << 20

  /// Visits the keys from `prefix` on at `revision` (0: the newest), at most `limit` of them (0: all).
  /// Builds the index, which takes as much memory as the server's. Throws `MigrationError.flags` for a
  /// revision that cannot be read.
  package func forEachKey(
    prefix: [UInt8],
    revision: Int64,
    limit: Int64,
    keysOnly: Bool,
    _ visit: (Mvccpb.KeyValue) -> Void
  ) throws {
    let store = try open()
    let request = Etcdserverpb.RangeRequest(
      key: prefix.isEmpty ? [0] : prefix,
      rangeEnd: Self.end(ofPrefix: prefix),
      limit: limit,
      revision: revision,
      keysOnly: keysOnly
    )
    let arena = Arena()
    let view = try request.encoded().withUnsafeBytes { bytes in
      try Etcdserverpb.RangeRequest.View(decoding: bytes, in: arena)
    }
    let header = ResponseHeader(
      clusterID: ClusterID(0),
      memberID: MemberID(0),
      raftTerm: Term(0)
    )
    let reader = store.makeReader()
    do {
      let cursor = try store.rangeCursor(view, header: header)
      var hasMore = true
      while hasMore {
        var piece = ByteWriter()
        hasMore = try cursor.next(bytesMax: Self.pieceBytesMax, reader: reader, into: &piece)
        let message = try Etcdserverpb.RangeStreamResponse(decoding: piece.bytes)
        for pair in message.rangeResponse?.kvs ?? [] { visit(pair) }
      }
    } catch let error as StoreError {
      throw MigrationError(error, revision: revision, of: self)
    }
  }

  /// The end of the range that has all keys with `prefix`.
  private static func end(ofPrefix prefix: [UInt8]) -> [UInt8] {
    guard let last = prefix.lastIndex(where: { $0 < 0xFF }) else { return [0] }
    return prefix[..<last] + [prefix[last] + 1]
  }
}

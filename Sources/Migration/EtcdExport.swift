import Auth
import Base
import BoltFile
import Crypto
import FoundationEssentials
import Glibc
import Lease
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// Makes a snapshot file of etcd's out of a store of Martlet's: one that `snapshot restore` of etcdctl
/// 3.4 and later takes.
///
/// In it are all stored revisions, byte for byte, with the compacted revision, leases, users, roles,
/// and the members, which a restore replaces. Alarms and a downgrade under way are left out.
package enum EtcdExport {
  package struct Summary: Sendable {
    package var revision: Int64
    package var revisionCount: Int
    package var leaseCount: Int
    package var userCount: Int
    package var roleCount: Int
    /// Of the file, in bytes.
    package var sizeBytes: Int
  }

  /// Writes the file, under another name until it is complete and durable.
  ///
  /// Throws `MigrationError` (`exists`; `unapplied` when a data directory's log holds more than its
  /// store), `StorageError` or `BoltError`; nothing is left behind then.
  package static func run(
    _ store: OfflineStore,
    to path: String,
    _ report: @escaping ProgressReport
  ) throws -> Summary {
    guard !SystemFiles.exists(path) else { throw MigrationError.exists("\(path) exists") }
    guard store.unappliedCount == 0 else {
      throw MigrationError.unapplied(count: store.unappliedCount, directory: store.path)
    }
    let temporary = "\(path).martletutl-\(String(UInt64.random(in: 0 ... .max), radix: 16))"
    defer { unlink(temporary) }
    let (length, revisionCount) = try write(store, to: temporary, report)
    try appendDigest(to: temporary, length: length, report)
    guard rename(temporary, path) == 0 else {
      throw MigrationError.failed(operation: "renaming \(temporary) to \(path)", code: errno)
    }
    try SystemFiles.syncDirectory(SystemFiles.parent(of: path))
    return Summary(
      revision: store.summary.state.current,
      revisionCount: revisionCount,
      leaseCount: store.summary.leaseCount,
      userCount: store.summary.auth.users.count,
      roleCount: store.summary.auth.roles.count,
      sizeBytes: length + SHA256.byteCount
    )
  }

  /// Writes the buckets, in the order of their names.
  private static func write(
    _ store: OfflineStore,
    to path: String,
    _ report: @escaping ProgressReport
  ) throws -> (length: Int, revisionCount: Int) {
    let file = try BoltWriter(path: path)
    let summary = store.summary
    try bucket(EtcdBucket.alarm, in: file) {}
    try bucket(EtcdBucket.auth, in: file) {
      try file.put(Array(EtcdKey.authEnabled.utf8), [summary.auth.isEnabled ? 1 : 0])
      try file.put(Array(EtcdKey.authRevision.utf8), etcdBytes(summary.auth.revision))
    }
    try bucket(EtcdBucket.authRoles, in: file) {
      for role in summary.auth.roles { try file.put(role.name, Authpb.Role(role).encoded()) }
    }
    try bucket(EtcdBucket.authUsers, in: file) {
      for user in summary.auth.users { try file.put(user.name, Authpb.User(user).encoded()) }
    }
    try bucket(EtcdBucket.cluster, in: file) {}
    var keys = (count: 0, newest: Int64(0))
    try bucket(EtcdBucket.key, in: file) { keys = try writeKeys(store, file, report) }
    try bucket(EtcdBucket.lease, in: file) { try writeLeases(store, file) }
    try bucket(EtcdBucket.members, in: file) {
      let members = summary.metadata?.members.members ?? []
      let named = members.map { ("\($0.id)", EtcdMember($0).encoded) }
      for (id, bytes) in named.sorted(by: { $0.0 < $1.0 }) { try file.put(Array(id.utf8), bytes) }
    }
    try bucket(EtcdBucket.membersRemoved, in: file) {}
    try bucket(EtcdBucket.meta, in: file) { try writeMeta(summary, newest: keys.newest, file) }
    return (try file.finish(), keys.count)
  }

  private static func bucket(_ name: String, in file: BoltWriter, _ body: () throws -> Void) throws
  {
    try file.beginBucket(name)
    try body()
    try file.endBucket()
  }

  /// Returns how many revisions there are, and the newest that has a record.
  private static func writeKeys(
    _ store: OfflineStore,
    _ file: BoltWriter,
    _ report: @escaping ProgressReport
  ) throws -> (count: Int, newest: Int64) {
    let progress = try ProgressPhase("exporting", totalBytes: store.base.bytesInUse, report)
    var (count, bytes) = (0, 0)
    var newest: Int64 = 0
    var failure: (any Error)?
    try store.base.scanAll { revision, isTombstone, value in
      do {
        try EtcdRevision(revision, isTombstone: isTombstone).withBytes { key throws(BoltError) in
          try file.put(key, value)
        }
        newest = revision.main
        count += 1
        bytes += value.count
        if count & 0xFFF == 0 { try progress.note(bytes) }
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
    let state = store.summary.state
    if state.current > max(newest, state.compacted, 1) {
      // As etcdutl marks a raised revision: a record without a pair.
      try file.put(EtcdRevision(ChangeRevision(main: state.current, sub: 0)).key, [])
      newest = state.current
    }
    try progress.end()
    return (count, newest)
  }

  private static func writeLeases(_ store: OfflineStore, _ file: BoltWriter) throws {
    var leases: [StoredLease] = []
    var isDamaged = false
    try store.base.forEachMetadata(prefix: LeaseRegistry.keyPrefix) { key, value in
      let number = key.dropFirst(LeaseRegistry.keyPrefix.count)
      if let lease = StoredLease(key: number, value) {
        leases.append(lease)
      } else {
        isDamaged = true
      }
    }
    if isDamaged {
      throw MigrationError.file(path: store.path, reason: "damaged: a lease does not read back")
    }
    func number(_ lease: StoredLease) -> UInt64 { UInt64(bitPattern: lease.id.rawValue) }
    for lease in leases.sorted(by: { number($0) < number($1) }) {
      let message = Leasepb.Lease(
        id: lease.id.rawValue,
        ttl: lease.grantedSeconds,
        remainingTTL: lease.remainingSeconds
      )
      try file.put(etcdBytes(number(lease)), message.encoded())
    }
  }

  private static func writeMeta(
    _ summary: StoreSummary,
    newest: Int64,
    _ file: BoltWriter
  ) throws {
    let applied = summary.metadata?.applied
    let state = summary.state
    // etcd 3.4.23 goes on from the newest record or the finished compaction, whichever is higher, and
    // would fall behind a compaction that is only scheduled. Calling it finished costs nothing: etcd's
    // next compaction removes what this one left.
    let finished = newest < state.compacted ? state.compacted : state.compactionFinished
    if let confState = applied?.confState {
      try file.put(Array(EtcdKey.confState.utf8), EtcdConfState(confState).encoded)
    }
    try file.put(
      Array(EtcdKey.consistentIndex.utf8),
      etcdBytes(applied?.index.rawValue ?? 0)
    )
    func revision(_ main: Int64) -> [UInt8] { EtcdRevision(ChangeRevision(main: main, sub: 0)).key }
    if finished >= 0 {
      try file.put(Array(EtcdKey.finishedCompaction.utf8), revision(finished))
    }
    if state.compacted >= 0 {
      try file.put(Array(EtcdKey.scheduledCompaction.utf8), revision(state.compacted))
    }
    try file.put(Array(EtcdKey.term.utf8), etcdBytes(applied?.term.rawValue ?? 0))
  }

  /// Appends the SHA-256 of the file's bytes, and syncs it.
  private static func appendDigest(
    to path: String,
    length: Int,
    _ report: @escaping ProgressReport
  ) throws {
    var hasher = SHA256()
    let progress = try ProgressPhase("checksum", totalBytes: length, report)
    var done = 0
    try SnapshotSource(path: path).forEachPiece { bytes in
      hasher.update(bufferPointer: bytes)
      done += bytes.count
      try progress.note(done)
    }
    guard done == length else {
      throw MigrationError.file(path: path, reason: "has \(done) bytes instead of \(length)")
    }
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw MigrationError.failed(operation: "opening \(path)", code: errno)
    }
    defer { close(descriptor) }
    let digest = [UInt8](hasher.finalize())
    guard Glibc.write(descriptor, digest, digest.count) == digest.count, fsync(descriptor) == 0
    else { throw MigrationError.failed(operation: "writing \(path)", code: errno) }
  }
}

/// A configuration as etcd 3.5 stores it: JSON.
private struct EtcdConfState: Codable {
  var voters: [UInt64]
  var learners: [UInt64]?
  var votersOutgoing: [UInt64]?
  var learnersNext: [UInt64]?
  var autoLeave: Bool

  enum CodingKeys: String, CodingKey {
    case voters
    case learners
    case votersOutgoing = "voters_outgoing"
    case learnersNext = "learners_next"
    case autoLeave = "auto_leave"
  }

  init(_ state: ConfState) {
    func list(_ ids: [MemberID]) -> [UInt64]? { ids.isEmpty ? nil : ids.map(\.rawValue) }
    voters = state.voters.map(\.rawValue)
    learners = list(state.learners)
    votersOutgoing = list(state.votersOutgoing)
    learnersNext = list(state.learnersNext)
    autoLeave = state.autoLeave
  }

  var encoded: [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    guard let data = try? encoder.encode(self) else {
      preconditionFailure("a configuration of numbers is always JSON")
    }
    return [UInt8](data)
  }
}

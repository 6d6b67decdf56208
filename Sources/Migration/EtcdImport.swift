import Auth
package import Base
import BoltFile
import Lease
import MVCC
import MemberFiles
import Membership
import Proto
import Raft
import Replica
import Storage

/// What came of an import or a restore.
package struct RestoreSummary: Sendable {
  package var revision: Int64
  /// -1 when nothing was compacted.
  package var compacted: Int64
  /// Stored revisions; nil when they were not counted.
  package var revisionCount: Int?
  package var leaseCount: Int
  package var userCount: Int
  package var roleCount: Int
  package var isAuthEnabled: Bool
  package var clusterID: ClusterID
  package var memberID: MemberID
  /// Alarms that were raised in the snapshot. They are of members that are no more, and not taken over.
  package var alarmCount: Int
}

/// Makes a data directory of Martlet out of a snapshot of etcd's, releases 3.4 to 3.6.
///
/// Taken over are all stored revisions of the keys, byte for byte, with the compacted revision; leases
/// with the time that is left of them; users with their hashed passwords, roles, and whether
/// authentication is on. Not taken over: alarms, downgrades, and, unless asked for, members.
package enum EtcdImport {
  /// How many leases are written in one transaction.
  private static let leasesMax = 10_000

  /// Throws `MigrationError`, `StorageError`, `LogError`, `DataDirectoryError` or `BoltError`; nothing is
  /// left behind then.
  package static func run(
    _ source: SnapshotSource,
    _ plan: MemberPlan,
    keepsMembers: Bool,
    _ report: @escaping ProgressReport
  ) throws -> RestoreSummary {
    try source.require(.etcd)
    try plan.check()
    try NewDirectory.checkPlace(plan)
    if !keepsMembers { _ = try plan.founders() }
    try source.verify(skips: plan.skipsHashCheck, report)
    do {
      let file = try source.openBolt()
      let content = try EtcdContent(reading: file, path: source.path)
      let (table, own) = try keepsMembers ? plan.kept(content.members) : plan.founders()
      let new = try NewDirectory(
        plan,
        DirectoryIdentity(memberID: own, clusterID: table.clusterID)
      )
      return try fill(new, source, plan, (file, content), table, own, report)
    } catch let error as BoltError {
      throw MigrationError.file(path: source.path, reason: error.description)
    }
  }

  private static func fill(
    _ new: NewDirectory,
    _ source: SnapshotSource,
    _ plan: MemberPlan,
    _ found: (file: BoltFile, content: EtcdContent),
    _ table: MemberTable,
    _ own: MemberID,
    _ report: @escaping ProgressReport
  ) throws -> RestoreSummary {
    let content = found.content
    let auth: AuthState
    do throws(DecodeError) {
      auth = try AuthState(
        importing: content.users,
        roles: content.roles,
        isEnabled: content.isAuthEnabled,
        revision: content.authRevision
      )
    } catch {
      throw MigrationError.file(path: source.path, reason: "users and roles contradict each other")
    }
    // Leases are told apart by the entry that granted them, so the log begins behind as many. It begins
    // at 1 at least, so that a member without this data must get a snapshot first.
    let mark = LogMark(
      index: LogIndex(max(content.consistentIndex, UInt64(content.leases.count), 1)),
      term: Term(max(content.term, 1)),
      confState: table.confState
    )
    let base = try LMDBStorage(path: new.directory.databaseFile)
    defer { base.close() }
    let storage = TieredStorage(over: base)
    var keys = EtcdKeys(of: content, in: found.file, path: source.path)
    try keys.load(into: storage, report)
    var state = keys.state
    guard state.advance(by: plan.bumpsRevisionBy, compacts: plan.marksCompacted) else {
      throw MigrationError.flags("--bump-revision: there are no revisions so far beyond")
    }
    try write(content.leases, to: base)
    var metadata = StoredMetadata(applied: mark, members: table).encoded()
    metadata.append((StoredState.key, state.encoded()))
    if !auth.users.isEmpty || !auth.roles.isEmpty || auth.revision > AuthState.firstRevision {
      metadata.append((StoredMetadata.authKey, auth.encoded()))
    }
    try base.commit(RevisionBatch(metadata: metadata))
    base.close()
    try new.writeLog(mark)
    try new.finish()
    return RestoreSummary(
      revision: state.current,
      compacted: state.compacted,
      revisionCount: keys.revisionCount,
      leaseCount: content.leases.count,
      userCount: auth.users.count,
      roleCount: auth.roles.count,
      isAuthEnabled: auth.isEnabled,
      clusterID: table.clusterID,
      memberID: own,
      alarmCount: content.alarmCount
    )
  }

  private static func write(_ leases: [Leasepb.Lease], to base: LMDBStorage) throws(StorageError) {
    var changes: MetadataChanges = []
    for (place, lease) in leases.enumerated() {
      let stored = StoredLease(
        id: LeaseID(lease.id),
        grantedSeconds: lease.ttl,
        remainingSeconds: lease.remainingTTL,
        grantedAt: LogIndex(UInt64(place + 1))
      )
      changes.append((LeaseRegistry.metadataKey(stored.grantedAt), stored.encoded()))
      if changes.count == leasesMax {
        try base.commit(RevisionBatch(metadata: changes))
        changes = []
      }
    }
    try base.commit(RevisionBatch(metadata: changes))
  }
}

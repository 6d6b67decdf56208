import Auth
package import Base
import BoltFile
import MVCC
import MemberFiles
import Membership
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
    let base = try LMDBStorage(path: new.directory.databaseFile)
    defer { base.close() }
    var loading = EtcdLoading(found.content, in: found.file, path: source.path)
    loading.bumpsRevisionBy = plan.bumpsRevisionBy
    loading.marksCompacted = plan.marksCompacted
    let loaded = try loading.run(into: base, members: table, report)
    base.close()
    try new.writeLog(loaded.mark)
    try new.finish()
    return RestoreSummary(
      revision: loaded.state.current,
      compacted: loaded.state.compacted,
      revisionCount: loaded.revisionCount,
      leaseCount: found.content.leases.count,
      userCount: loaded.auth.users.count,
      roleCount: loaded.auth.roles.count,
      isAuthEnabled: loaded.auth.isEnabled,
      clusterID: table.clusterID,
      memberID: own,
      alarmCount: found.content.alarmCount
    )
  }
}

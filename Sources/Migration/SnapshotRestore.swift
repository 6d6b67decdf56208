import Auth
import Base
import Glibc
import MVCC
import MemberFiles
import Membership
import Replica
import Storage

/// Makes a data directory for one founding member of a new cluster out of a snapshot of Martlet's.
///
/// Everything in the store stays as it is, the newest revision included; of what belongs to the old
/// cluster, members are replaced, and alarms and a downgrade under way are left out.
package enum SnapshotRestore {
  /// Throws `MigrationError`, `StorageError`, `LogError` or `DataDirectoryError`; nothing is left behind
  /// then.
  package static func run(
    _ source: SnapshotSource,
    _ plan: MemberPlan,
    _ report: @escaping ProgressReport
  ) throws -> RestoreSummary {
    try source.require(.martlet)
    try plan.check()
    let (table, own) = try plan.founders()
    let new = try NewDirectory(plan, DirectoryIdentity(memberID: own, clusterID: table.clusterID))
    let path = new.directory.databaseFile
    try copy(source, to: path, skips: plan.skipsHashCheck, report)
    do throws(StorageError) {
      try LMDBStorage.check(copyAt: path)
    } catch {
      throw MigrationError(error, of: source)
    }
    let base = try LMDBStorage(path: path)
    defer { base.close() }
    let found = try StoreSummary(reading: base, path: source.path)
    guard let stored = found.metadata else {
      throw MigrationError.file(path: source.path, reason: "it does not say how far it goes")
    }
    var state = found.state
    guard state.advance(by: plan.bumpsRevisionBy, compacts: plan.marksCompacted) else {
      throw MigrationError.flags("--bump-revision: there are no revisions so far beyond")
    }
    var mark = stored.applied
    // At 1 at least, so that a member without this data must get a snapshot first.
    mark.index = max(mark.index, LogIndex(1))
    mark.term = max(mark.term, Term(1))
    mark.confState = table.confState
    var metadata = StoredMetadata(applied: mark, members: table).encoded()
    metadata.append((StoredState.key, state.encoded()))
    for key in [AlarmTable.metadataKey, DowngradeJob.metadataKey, StoredMetadata.installKey] {
      metadata.append((key, nil))
    }
    try base.commit(RevisionBatch(metadata: metadata))
    base.close()
    try new.writeLog(mark)
    try new.finish()
    return RestoreSummary(
      revision: state.current,
      compacted: state.compacted,
      revisionCount: nil,
      leaseCount: found.leaseCount,
      userCount: found.auth.users.count,
      roleCount: found.auth.roles.count,
      isAuthEnabled: found.auth.isEnabled,
      clusterID: table.clusterID,
      memberID: own,
      alarmCount: found.alarms.alarms.count
    )
  }

  private static func copy(
    _ source: SnapshotSource,
    to path: String,
    skips: Bool,
    _ report: @escaping ProgressReport
  ) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw MigrationError.failed(operation: "making \(path)", code: errno)
    }
    defer { close(descriptor) }
    try source.verify(skips: skips, phase: "restoring", report) { bytes in
      var rest = bytes
      while !rest.isEmpty {
        let count = write(descriptor, rest.baseAddress, rest.count)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else {
          throw MigrationError.failed(operation: "writing \(path)", code: errno)
        }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
    }
    guard fsync(descriptor) == 0 else {
      throw MigrationError.failed(operation: "syncing \(path)", code: errno)
    }
  }
}

extension MigrationError {
  /// What is wrong with a snapshot's file, by its own name.
  init(_ error: StorageError, of source: SnapshotSource) {
    switch error {
    case .corrupt(_, let reason): self = .file(path: source.path, reason: "damaged: \(reason)")
    case .notAStore(_, let reason), .io(_, _, let reason):
      self = .file(path: source.path, reason: reason)
    default: self = .file(path: source.path, reason: error.description)
    }
  }
}

import Base
import BoltFile
import Log
import MVCC
import MemberFiles
import Membership
import Replica
import Storage

/// A store without a server: of a data directory that no server has, or of a snapshot file of either
/// kind. Nothing is changed.
package final class OfflineStore {
  /// Where the store is from.
  package enum Origin: Sendable {
    /// `logDirectory`: where the member has its log when not in the data directory.
    case dataDirectory(String, logDirectory: String? = nil)
    case file(SnapshotSource)
  }

  let base: LMDBStorage
  let path: String
  let summary: StoreSummary
  /// How many requests a data directory's log holds that the store does not have yet.
  package let unappliedCount: Int
  /// Held as long as the store is open.
  private let directory: DataDirectory?

  /// Throws `MigrationError`, `DataDirectoryError` (`inUse` when a server has the directory),
  /// `StorageError` or `LogError`.
  package init(_ origin: Origin, _ report: @escaping ProgressReport) throws {
    switch origin {
    case .dataDirectory(let path, let logDirectory):
      let directory = try OfflineDirectory.open(path, logDirectory: logDirectory)
      try LMDBStorage.check(copyAt: directory.databaseFile)
      var options = LMDBStorage.Options()
      options.isReadOnly = true
      base = try LMDBStorage(path: directory.databaseFile, options: options)
      self.path = directory.databaseFile
      self.directory = directory
    case .file(let source):
      try source.verify(skips: source.digest == nil, report)
      path = source.path
      directory = nil
      switch source.kind {
      case .martlet:
        base = try source.openStore()
      case .etcd:
        let temporary = try SystemFiles.makeTemporaryDirectory()
        // Once it is open the store needs no name any more.
        defer { SystemFiles.removeTree(temporary) }
        base = try Self.bring(source, into: "\(temporary)/store.mdb", report)
      }
    }
    do {
      summary = try StoreSummary(reading: base, path: path)
      let applied = summary.metadata?.applied.index ?? .zero
      if let directory {
        unappliedCount = try OfflineDirectory.unappliedCount(directory, after: applied)
      } else {
        unappliedCount = 0
      }
    } catch {
      base.close()
      throw error
    }
  }

  deinit {
    base.close()
    directory?.close()
  }

  /// A store with all that an etcd file has.
  private static func bring(
    _ source: SnapshotSource,
    into path: String,
    _ report: @escaping ProgressReport
  ) throws -> LMDBStorage {
    do {
      let file = try source.openBolt()
      let content = try EtcdContent(reading: file, path: source.path)
      let members = try MemberTable(of: content.members)
      let base = try LMDBStorage(path: path)
      let loading = EtcdLoading(content, in: file, path: source.path)
      _ = try loading.run(into: base, members: members, report)
      return base
    } catch let error as BoltError {
      throw MigrationError.file(path: source.path, reason: error.description)
    } catch is MembershipError {
      throw MigrationError.file(path: source.path, reason: "members contradict each other")
    }
  }
}

/// The data directory of a member that does not run.
enum OfflineDirectory {
  /// Opens and locks it. Throws `file` when there is none.
  static func open(_ path: String, logDirectory: String? = nil) throws -> DataDirectory {
    guard DataDirectory.hasData(path: path) else {
      // The message about etcd's own directories comes from there.
      if SystemFiles.exists("\(path)/member/snap") || SystemFiles.exists("\(path)/member/wal") {
        throw DataDirectoryError.belongsToEtcd(path)
      }
      throw MigrationError.file(path: path, reason: "no data directory of Martlet")
    }
    if let logDirectory, !SystemFiles.exists(logDirectory) {
      throw MigrationError.file(path: logDirectory, reason: "no such directory")
    }
    let directory = try DataDirectory(path: path, logPath: logDirectory)
    guard SystemFiles.exists(directory.databaseFile) else {
      directory.close()
      throw MigrationError.file(path: path, reason: "the member has no store yet")
    }
    return directory
  }

  /// How many requests the log holds behind `applied`. Reads all of the log.
  static func unappliedCount(_ directory: DataDirectory, after applied: LogIndex) throws -> Int {
    var pending: [LogIndex: Bool] = [:]
    try forEachRecord(directory) { dumped in
      guard case .entry(let entry) = dumped.record, entry.index > applied else { return }
      pending[entry.index] = entry.kind == EntryKind.normal && !entry.data.isEmpty
    }
    return pending.values.count { $0 }
  }

  /// Reads all of the log. Throws `file` when there is none, `LogError` when it is damaged.
  static func forEachRecord(
    _ directory: DataDirectory,
    _ visit: (DumpedRecord) -> Void
  ) throws {
    do throws(LogError) {
      try LogDump.forEachRecord(directory: directory.logPath, files: PosixFileSystem(), visit)
    } catch .notFound {
      throw MigrationError.file(
        path: directory.logPath,
        reason: "no log of a member; if it has one elsewhere, --wal-dir says where"
      )
    }
  }
}

import Base
import Glibc
import Log
import MemberFiles
import Replica
import Storage

/// A data directory in the making: under another name beside its place until it is complete and
/// durable, so that there is all of it or nothing.
final class NewDirectory {
  let directory: DataDirectory
  private let path: String
  private let temporaryPath: String
  private let logDirectory: String?
  private let identity: DirectoryIdentity
  private var isFinished = false

  /// Throws `exists` when the place is taken; an empty directory is not.
  init(_ plan: MemberPlan, _ identity: DirectoryIdentity) throws {
    var path = plan.dataDirectory
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    self.path = path
    self.identity = identity
    try Self.checkPlace(plan)
    try SystemFiles.makeParents(of: path)
    let suffix = String(UInt64.random(in: 0 ... .max), radix: 16)
    temporaryPath = "\(path).martletutl-\(suffix)"
    logDirectory = plan.logDirectory.map { SystemFiles.absolute($0) }
    do {
      directory = try DataDirectory(path: temporaryPath)
      try directory.writeIdentity(memberID: identity.memberID, clusterID: identity.clusterID)
      try linkLog()
    } catch {
      SystemFiles.removeTree(temporaryPath)
      throw error
    }
  }

  deinit {
    guard !isFinished else { return }
    directory.close()
    SystemFiles.removeTree(temporaryPath)
    if let logDirectory { SystemFiles.removeTree(logDirectory) }
  }

  /// Throws `exists` when the directories of the plan are not free.
  static func checkPlace(_ plan: MemberPlan) throws(MigrationError) {
    guard !plan.dataDirectory.isEmpty else { throw .flags("--data-dir is needed") }
    let isTaken =
      SystemFiles.exists(plan.dataDirectory) && !SystemFiles.isEmptyDirectory(plan.dataDirectory)
    guard !isTaken else {
      throw .exists("data-dir \"\(plan.dataDirectory)\" not empty or could not be read")
    }
    if let log = plan.logDirectory, SystemFiles.exists(log) {
      throw .exists("wal-dir \"\(log)\" exists")
    }
  }

  /// Puts the log elsewhere when the plan says so: a member finds it by a link.
  private func linkLog() throws(MigrationError) {
    guard let logDirectory else { return }
    try SystemFiles.makeParents(of: logDirectory)
    try SystemFiles.makeDirectory(logDirectory)
    guard rmdir(directory.logPath) == 0, symlink(logDirectory, directory.logPath) == 0 else {
      let code = errno
      SystemFiles.removeTree(logDirectory)
      throw .failed(operation: "linking \(directory.logPath)", code: code)
    }
  }

  /// Begins the log at `mark`: as if a snapshot had been installed there.
  func writeLog(_ mark: LogMark) throws {
    let (log, _) = try SegmentedLog.open(
      directory: directory.logPath,
      files: PosixFileSystem(),
      metadata: LogMetadata(clusterID: identity.clusterID, memberID: identity.memberID)
    )
    let batch = LogBatch(capacity: 512)
    batch.append(snapshot: mark.snapshotMark)
    batch.append(hardState: LogHardState(term: mark.term, vote: .none, commit: mark.index))
    try log.append(batch)
    try log.sync()
  }

  /// Gives the directory its name. The store must be closed.
  func finish() throws(MigrationError) {
    // The lock that a running store has; whoever opens the store makes it anew.
    unlink(directory.databaseFile + ".owner")
    for place in [directory.databasePath, "\(temporaryPath)/member", temporaryPath] {
      try SystemFiles.syncDirectory(place)
    }
    if let logDirectory { try SystemFiles.syncDirectory(SystemFiles.parent(of: logDirectory)) }
    directory.close()
    guard rename(temporaryPath, path) == 0 else {
      throw .failed(operation: "renaming \(temporaryPath) to \(path)", code: errno)
    }
    isFinished = true
    try SystemFiles.syncDirectory(SystemFiles.parent(of: path))
  }
}

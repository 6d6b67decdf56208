package import Base
import Glibc

// A member's directory, `--data-dir`:
//
//     <data-dir>/              mode 0700
//       member/                mode 0700
//         LOCK                 flock'ed by the process that runs the member; empty
//         IDENTITY             whose data this is: see `DirectoryIdentity`
//         IDENTITY.tmp         only during a write; ignored and overwritten
//         log/                 segments of the replicated log, unless they have a directory elsewhere
//         db/                  the store
//
// IDENTITY is written before anything goes into `log` or `db`, so data without it was damaged.
// etcd's own directory has `member/wal` and `member/snap`; it is recognised and left alone.

/// A member's data directory, opened and locked by this process.
///
/// The lock ends with `close()`, with the object, or with the process, however it dies.
package final class DataDirectory: Sendable {
  /// The directory as it was given.
  package let path: String
  /// Where the replicated log's segments are.
  package let logPath: String
  /// Where the store is.
  package let databasePath: String
  /// The store's file, in the directory for it.
  package var databaseFile: String { databasePath + "/" + Self.databaseName }
  /// Who the data belongs to; none in a new directory.
  package let identity: DirectoryIdentity?

  private let lock: DirectoryLock

  /// The name of the store's file.
  package static let databaseName = "store.mdb"

  /// Opens the directory, made with mode 0700 where it is missing, and locks it. `logPath`: where the
  /// log is when it is not in the directory; its parent must be there.
  package init(path: String, logPath: String? = nil) throws(DataDirectoryError) {
    let member = path + "/member"
    try Self.makeDirectory(path)
    if Files.exists(member + "/wal") || Files.exists(member + "/snap") {
      throw .belongsToEtcd(path)
    }
    try Self.makeDirectory(member)
    lock = try DirectoryLock(file: member + "/LOCK", directory: path)
    self.path = path
    self.logPath = logPath ?? member + "/log"
    databasePath = member + "/db"
    try Self.makeDirectory(self.logPath)
    try Self.makeDirectory(databasePath)
    identity = try DirectoryIdentity.read(member + "/IDENTITY", directory: path)
    if identity == nil {
      let isLogEmpty = try Files.isEmpty(self.logPath)
      let isDatabaseEmpty = try Files.isEmpty(databasePath)
      guard isLogEmpty && isDatabaseEmpty else { throw .identityMissing(path) }
    }
  }

  /// Whether a member has begun to use the directory. It need not be there.
  package static func hasData(path: String) -> Bool {
    Files.exists(path + "/member/IDENTITY")
  }

  /// Writes, for good, whose data this is. Only in a new directory, before any data.
  package func writeIdentity(memberID: MemberID, clusterID: ClusterID) throws(DataDirectoryError) {
    precondition(identity == nil, "the directory has an identity: \(String(describing: identity))")
    let identity = DirectoryIdentity(memberID: memberID, clusterID: clusterID)
    try Files.replace(path + "/member/IDENTITY", with: identity.text)
  }

  /// Lets another process have the directory. The object is of no use afterwards.
  package func close() {
    lock.release()
  }

  private static func makeDirectory(_ path: String) throws(DataDirectoryError) {
    if access(path, F_OK) == 0 {
      // Not by `stat`: which module owns that struct changes where Foundation is imported, too.
      guard access("\(path)/.", F_OK) == 0 || errno != ENOTDIR else { throw .notADirectory(path) }
      guard access(path, R_OK | W_OK | X_OK) == 0 else { throw .notWritable(path, errno) }
      return
    }
    guard errno == ENOENT else { throw .cannotCreate(path, errno) }
    guard mkdir(path, 0o700) == 0 else { throw .cannotCreate(path, errno) }
    try Files.syncDirectory(of: path)
  }
}

/// Why a data directory was refused; `description` is meant for the operator.
package enum DataDirectoryError: Error, Hashable, CustomStringConvertible {
  case notADirectory(String)
  case cannotCreate(String, Int32)
  case notWritable(String, Int32)
  /// A system call on a file in the directory failed.
  case failed(file: String, Int32)
  case inUse(String, lockFile: String)
  case belongsToEtcd(String)
  case identityMissing(String)
  case identityDamaged(file: String)
  case newerFormat(Int, directory: String)

  package var description: String {
    switch self {
    case .notADirectory(let path):
      "data directory: \(path) is not a directory"
    case .cannotCreate(let path, let code):
      "data directory: cannot create \(path): \(Self.reason(code))"
    case .notWritable(let path, let code):
      "data directory: \(path) is not readable and writable: \(Self.reason(code))"
    case .failed(let file, let code):
      "data directory: \(file): \(Self.reason(code))"
    case .inUse(let path, let lockFile):
      "data directory \(path) is in use by another process (it holds the lock on \(lockFile))"
    case .belongsToEtcd(let path):
      "\(path) is an etcd data directory (it has member/wal or member/snap). Choose another "
        + "--data-dir; `martletutl migrate import` makes one from a snapshot of etcd's"
    case .identityMissing(let path):
      "data directory \(path) is damaged: it has data, but member/IDENTITY is missing"
    case .identityDamaged(let file):
      "data directory is damaged: \(file) cannot be read or its checksum is wrong"
    case .newerFormat(let version, let directory):
      "data directory \(directory) was written by a newer release (format \(version), this one "
        + "reads up to \(DirectoryIdentity.formatVersion))"
    }
  }

  private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}

import Base
import BoltFile
import MVCC
import MemberFiles
import Storage

/// What `snapshot status` says of a file.
package struct SnapshotStatus: Sendable {
  /// CRC32C over all records: of etcd's files what etcd's tools print.
  package var hash: UInt32
  package var revision: Int64
  package var recordCount: Int
  /// Of the database, in bytes.
  package var sizeBytes: Int

  /// Reads all of a file. A wrong SHA-256 is refused; a missing one is not, as the file may be a copy
  /// from a data directory. Throws `MigrationError` or `StorageError`.
  package init(of source: SnapshotSource, _ report: @escaping ProgressReport) throws {
    try source.verify(skips: source.digest == nil, report)
    switch source.kind {
    case .etcd:
      do {
        try self.init(etcd: source, report)
      } catch let error as BoltError {
        throw MigrationError.file(path: source.path, reason: error.description)
      }
    case .martlet: try self.init(martlet: source, report)
    }
  }

  private init(etcd source: SnapshotSource, _ report: @escaping ProgressReport) throws {
    let file = try source.openBolt()
    // Twice: the structure, then the content.
    let progress = try ProgressPhase("reading", totalBytes: 2 * file.usedBytes, report)
    try file.check()
    var (hash, count, revision) = (UInt32(0), 0, Int64(0))
    try file.forEachBucket { name, bucket in
      name.withUnsafeBytes { hash = Checksum.add($0, to: hash) }
      let isKeys = name == Array(EtcdBucket.key.utf8)
      try file.forEach(in: bucket) { entry in
        hash = Checksum.add(entry.key, to: hash)
        if !entry.isBucket { hash = Checksum.add(entry.value, to: hash) }
        count += 1
        if isKeys {
          revision = EtcdRevision(entry.key)?.revision.main ?? revision
          if count & 0xFFF == 0 { try progress.note(file.bytesRead) }
        }
      }
    }
    try progress.end()
    (self.hash, recordCount, self.revision) = (hash, count, revision)
    sizeBytes = file.usedBytes
  }

  private init(martlet source: SnapshotSource, _ report: @escaping ProgressReport) throws {
    let base = try source.openStore()
    defer { base.close() }
    let summary = try StoreSummary(reading: base, path: source.path)
    let progress = try ProgressPhase("reading", totalBytes: source.contentBytes, report)
    var (hash, count, bytes) = (UInt32(0), 0, 0)
    var stopped: (any Error)?
    try base.forEachMetadata(prefix: "") { key, value in
      Array(key.utf8).withUnsafeBytes { hash = Checksum.add($0, to: hash) }
      hash = Checksum.add(value, to: hash)
      count += 1
    }
    try base.scanAll { revision, isTombstone, value in
      EtcdRevision(revision, isTombstone: isTombstone).withBytes {
        hash = Checksum.add($0, to: hash)
      }
      hash = Checksum.add(value, to: hash)
      count += 1
      bytes += value.count
      guard count & 0xFFF == 0 else { return true }
      do {
        try progress.note(bytes)
        return true
      } catch {
        stopped = error
        return false
      }
    }
    if let stopped { throw stopped }
    try progress.end()
    (self.hash, recordCount) = (hash, count)
    revision = summary.state.current
    sizeBytes = source.contentBytes
  }
}

extension SnapshotSource {
  /// The file as a store of Martlet's that cannot be changed, its structure checked; it must be of that
  /// kind.
  func openStore() throws(MigrationError) -> LMDBStorage {
    do throws(StorageError) {
      try LMDBStorage.check(copyAt: path)
      var options = LMDBStorage.Options()
      options.isReadOnly = true
      return try LMDBStorage(path: path, options: options)
    } catch {
      throw MigrationError(error, of: self)
    }
  }
}

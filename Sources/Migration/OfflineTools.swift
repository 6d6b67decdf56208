import Base
import MVCC
import MemberFiles
import Storage

/// What HashKV would answer.
package struct OfflineHash: Sendable {
  package var hash: UInt32
  package var hashRevision: Int64
  package var compactRevision: Int64

  /// The hash of the history up to `revision` (0: up to the newest), equal to the server's `HashKV` of
  /// the same data. Throws `MigrationError.flags` for a revision that cannot be read any more or yet.
  package init(of store: OfflineStore, revision: Int64) throws {
    let opened = try store.open()
    do throws(StoreError) {
      let found = try opened.hashKV(revision: Revision(revision), reader: opened.makeReader())
      hash = found.hash
      hashRevision = found.hashRevision.rawValue
      compactRevision = found.compactRevision.rawValue
    } catch {
      throw MigrationError(error, revision: revision, of: store)
    }
  }
}

extension MigrationError {
  init(_ error: StoreError, revision: Int64, of store: OfflineStore) {
    let state = store.summary.state
    switch error {
    case .compacted:
      self = .flags("revision \(revision) has been compacted; compacted is \(state.compacted)")
    case .futureRevision:
      self = .flags("revision \(revision) is not there yet; the newest is \(state.current)")
    default: self = .file(path: store.path, reason: "damaged: a stored pair does not read back")
    }
  }
}

extension OfflineStore {
  /// Builds the index. Takes as much memory as the server's.
  func open() throws(StorageError) -> Store {
    try Store(storage: TieredStorage(over: base))
  }
}

/// Rewrites the store's file of a data directory without its holes.
package struct OfflineDefragmentation: Sendable {
  /// Of the file, in bytes.
  package var bytesBefore: Int
  package var bytesAfter: Int

  /// Throws `DataDirectoryError.inUse` when a server has the directory. Whenever the process ends, the
  /// old file is there or the complete new one.
  package init(dataDirectory path: String) throws {
    let directory = try OfflineDirectory.open(path)
    defer { directory.close() }
    let base = try LMDBStorage(path: directory.databaseFile)
    defer { base.close() }
    bytesBefore = base.bytesOnDisk
    try base.defragment()
    bytesAfter = base.bytesOnDisk
  }
}

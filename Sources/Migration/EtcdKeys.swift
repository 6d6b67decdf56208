import Base
import BoltFile
import MVCC
import Storage

/// Brings the keys of an etcd database, all stored revisions of them, into a store.
struct EtcdKeys {
  let file: BoltFile
  let content: EtcdContent
  let path: String

  private(set) var revisionCount = 0
  private(set) var state = StoredState()

  /// How much is gathered for one transaction, in bytes.
  private static let transactionBytesMax = 8 << 20

  init(of content: EtcdContent, in file: BoltFile, path: String) {
    self.content = content
    self.file = file
    self.path = path
  }

  /// Writes all but what `state` says in the end, which belongs into the last transaction. Pairs are
  /// taken over byte for byte.
  mutating func load(into storage: TieredStorage, _ report: @escaping ProgressReport) throws {
    guard let keys = content.keys else { return }
    let progress = try ProgressPhase("importing", totalBytes: file.usedBytes, report)
    let start = file.bytesRead
    var count = 0
    var newest: Int64 = 1
    try file.forEach(in: keys) { entry in
      guard !entry.isBucket, let found = EtcdRevision(entry.key) else {
        throw flaw(entry, "a key of bucket key is no revision")
      }
      newest = found.revision.main
      // etcdutl marks a raised revision by a record without a pair.
      if entry.value.isEmpty, !found.isTombstone { return }
      let isTombstone = found.isTombstone
      if let flaw = StoredPair.flaw(entry.value, at: found.revision, isTombstone: isTombstone) {
        throw self.flaw(entry, "revision \(found.revision.main): \(flaw)")
      }
      count += 1
      storage.append(found.revision, tombstone: isTombstone, bytes: entry.value)
      if storage.activeBytes >= Self.transactionBytesMax {
        try storage.flush([])
        try progress.note(file.bytesRead - start)
      }
    }
    try storage.flush([])
    try progress.end()
    revisionCount = count
    // Compaction may have removed the newest revisions, and etcd goes on from where it was.
    state.compacted = max(content.scheduledCompaction, content.finishedCompaction)
    state.compactionFinished = content.finishedCompaction
    state.current = max(newest, state.compacted, 1)
  }

  private func flaw(_ entry: BoltEntry, _ reason: String) -> MigrationError {
    .file(path: path, reason: "damaged at page \(entry.page): \(reason)")
  }
}

extension TieredStorage {
  /// Commits what was appended together with `metadata`.
  func flush(_ metadata: MetadataChanges) throws(StorageError) {
    guard let job = seal(metadata: metadata) else { return }
    try job.run()
    finish(job)
  }
}

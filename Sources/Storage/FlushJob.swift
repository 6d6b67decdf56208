package import Base
import Synchronization

/// A sealed memtable and the metadata of its state, on their way into the store below.
///
/// The flusher calls `run()` until it does not throw, then `TieredStorage.finish(_:)`, job by job
/// in the order of the seals. The storage must outlive its jobs.
package final class FlushJob: @unchecked Sendable {
  // Safe to share: only the flusher changes fields; `deletions` under the storage's lock, since
  // other threads count them.
  private unowned let storage: TieredStorage
  let table: Memtable?
  let metadata: MetadataChanges
  let installs: Int
  var deletions: [Deletions]
  var committed = false

  init(
    storage: TieredStorage,
    table: Memtable?,
    metadata: MetadataChanges,
    deletions: [Deletions],
    installs: Int
  ) {
    self.storage = storage
    self.table = table
    self.metadata = metadata
    self.deletions = deletions
    self.installs = installs
  }

  /// How much memory `TieredStorage.finish(_:)` is going to free, in bytes.
  package var bytes: Int { table?.bytes ?? 0 }

  /// Commits revisions and metadata in one durable transaction. Flusher only.
  ///
  /// When it throws nothing was committed, and it can be called again. A job that
  /// `TieredStorage.install(from:)` made void does nothing.
  package func run() throws(StorageError) {
    try storage.commits.withLock { installs throws(StorageError) in
      guard installs == self.installs, !committed else { return }
      precondition(storage.isNext(self), "flush jobs must be run in the order of their seals")
      let skipped = takeSkipped()
      try storage.base.commit(
        RevisionBatch(metadata: metadata, deletions: [], table: table, skipped: skipped.revisions)
      )
      storage.shared.withLock { _ in deletions = skipped.remaining }
      committed = true
    }
  }

  /// Splits the deletions into those of revisions that this job need not write at all, because no
  /// reader can name them any more, and the rest.
  private func takeSkipped() -> (revisions: [ChangeRevision], remaining: [Deletions]) {
    guard let table, table.count > 0, !deletions.isEmpty else { return ([], deletions) }
    // A tombstone must be stored before it goes: without it, older revisions of its key that are
    // stored already would come back to life should the process die before they are deleted.
    func isSkippable(_ revision: ChangeRevision) -> Bool {
      table.find(revision).map { !$0.tombstone } ?? false
    }
    let oldest = storage.oldestReaderEpoch()
    var skipped: [ChangeRevision] = []
    var remaining: [Deletions] = []
    for batch in deletions {
      guard batch.epoch <= oldest else {
        remaining.append(batch)
        continue
      }
      skipped += batch.revisions.filter(isSkippable)
      let rest = batch.revisions.filter { !isSkippable($0) }
      if !rest.isEmpty { remaining.append(Deletions(revisions: rest, epoch: batch.epoch)) }
    }
    skipped.sort()
    return (skipped, remaining)
  }
}

/// Revisions that compaction took out of the index, and the epoch from which on no reader that
/// begins can name them.
struct Deletions: Sendable {
  var revisions: [ChangeRevision]
  let epoch: UInt64
  /// How many of them are committed.
  var done = 0

  init(revisions: [ChangeRevision], epoch: UInt64) {
    self.revisions = revisions
    self.epoch = epoch
  }
}

extension TieredStorage {
  /// What `commitDeletions` left to do.
  package enum DeletionProgress: Equatable, Sendable {
    /// Nothing that is due.
    case idle
    /// More is due; call again, after a pause if others need the disk.
    case more
    /// A reader from before the compaction has not ended.
    case waitingForReaders
  }

  func isNext(_ job: FlushJob) -> Bool {
    shared.withLock { $0.jobs.first === job }
  }

  /// Drops the memtable of a job whose `run()` succeeded; its deletions become due. Flusher only.
  package func finish(_ job: FlushJob) {
    let dropped = shared.withLock { shared -> TableList? in
      guard shared.jobs.first === job else { return nil }  // void since an install
      precondition(job.committed, "finish of a flush job that did not run")
      shared.jobs.removeFirst()
      shared.ready += job.deletions
      guard let table = job.table else { return nil }
      let old = shared.list
      precondition(old.tables.first === table)
      shared.list = TableList(Array(old.tables.dropFirst()))
      sealedByteCount.subtract(table.bytes, ordering: .relaxed)
      noteUsage { usage in
        usage.sealed -= table.bytes
        usage.flushed = base.bytesInUse
      }
      return old
    }
    withExtendedLifetime(dropped) {}  // the memory is given back outside the lock
    pool.trim()
  }

  /// Queues revisions that the index no longer names. Any thread; see the type's rules.
  ///
  /// They are deleted by `commitDeletions` some time after a job sealed later than this call.
  package func delete(_ revisions: [ChangeRevision]) {
    guard !revisions.isEmpty else { return }
    let epoch = epoch.add(1, ordering: .sequentiallyConsistent).newValue
    let deletions = Deletions(revisions: revisions.sorted(), epoch: epoch)
    shared.withLock { $0.unsealed.append(deletions) }
  }

  /// How many revisions wait to be deleted, those included that wait for a seal. Any thread.
  package var waitingDeletions: Int {
    shared.withLock { shared in
      let inJobs = shared.jobs.lazy.flatMap(\.deletions)
      return (shared.unsealed + inJobs + shared.ready).reduce(0) {
        $0 + $1.revisions.count - $1.done
      }
    }
  }

  /// Deletes up to `countMax` revisions that are due, in one durable transaction. Flusher only.
  ///
  /// When it throws nothing was deleted, and it can be called again.
  package func commitDeletions(countMax: Int = 10_000) throws(StorageError) -> DeletionProgress {
    try commits.withLock { _ throws(StorageError) in
      guard let batch = shared.withLock({ $0.ready.first }) else { return .idle }
      guard batch.epoch <= oldestReaderEpoch() else { return .waitingForReaders }
      let end = min(batch.done + countMax, batch.revisions.count)
      try base.commit(RevisionBatch(deletions: batch.revisions[batch.done..<end]))
      noteFlushed()
      return shared.withLock { shared in
        if end == batch.revisions.count {
          shared.ready.removeFirst()
        } else {
          shared.ready[0].done = end
        }
        return shared.ready.isEmpty ? .idle : .more
      }
    }
  }

  /// The epoch in which the reader began that has been in use longest; the highest possible one
  /// when none is in use.
  func oldestReaderEpoch() -> UInt64 {
    shared.withLock { shared in
      var oldest = UInt64.max
      for slot in shared.readers {
        let epoch = slot.epoch.load(ordering: .sequentiallyConsistent)
        if epoch != ReaderSlot.idle { oldest = min(oldest, epoch) }
      }
      return oldest
    }
  }
}

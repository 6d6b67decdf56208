package import Base
package import Storage
import Synchronization

/// How far housekeeping is with removing what a compaction made unreachable.
struct CompactionProgress {
  enum Phase {
    case idle
    /// Going through the index.
    case index(from: CompactionCursor?)
    /// Waiting until storage has deleted what the index dropped.
    case storage
  }

  /// Dropped revisions are handed to storage when they are this many.
  static let batchMax = 10_000

  var phase = Phase.idle
  var target: Int64 = -1
  /// Dropped from the index and not handed to storage yet.
  var dropped: [ChangeRevision] = []
  /// The store's when the work began.
  var generation = 0
}

extension Store {
  /// Everything that compactions up to this revision made unreachable has been removed. Any thread.
  package var finishedCompaction: Revision {
    Revision(compactionFinished.load(ordering: .acquiring))
  }

  /// Whether the next `compactionStep` works on the index, while writes wait. Housekeeping thread.
  package var isCompactingIndex: Bool {
    if case .index = compaction.phase { true } else { false }
  }

  /// Does one short step of the work that a compaction left: about `limit` keys and revisions in
  /// the index, or one transaction of deletions. Returns whether there is more. True without
  /// progress means that it waits: for a read that began before the compaction, or for a flush
  /// (`wantsFlush`). Housekeeping thread. When it throws it can be called again.
  package func compactionStep(limit: Int) throws(StorageError) -> Bool {
    let generation = generation.load(ordering: .acquiring)
    if generation != compaction.generation {
      // What was dropped belongs to an index that is gone.
      compaction = CompactionProgress()
      compaction.generation = generation
    }
    switch compaction.phase {
    case .idle:
      let target = compactedRevision.rawValue
      if compactionFinished.load(ordering: .relaxed) >= target { return false }
      compaction.target = target
      compaction.phase = .index(from: nil)
      return true
    case .index(let cursor):
      if pins.oldest >= compaction.target { stepIndex(from: cursor, limit: limit) }
      return true
    case .storage:
      let progress = try storage.commitDeletions(countMax: CompactionProgress.batchMax)
      if progress != .idle || storage.waitingDeletions > 0 { return true }
      compactionFinished.store(compaction.target, ordering: .releasing)
      compaction.phase = .idle
      return compactedRevision.rawValue > compaction.target
    }
  }

  private func stepIndex(from cursor: CompactionCursor?, limit: Int) {
    lock.lockForWriting()
    let next = index.compactStep(
      at: compaction.target,
      from: cursor,
      workMax: limit,
      into: &compaction.dropped
    )
    lock.unlock()
    if next == nil || compaction.dropped.count >= CompactionProgress.batchMax {
      StoreStatistics.add(compaction.dropped.count, to: statistics.compactedKeyCounter)
      storage.delete(compaction.dropped)
      compaction.dropped.removeAll()
    }
    if let next {
      compaction.phase = .index(from: next)
    } else {
      compaction.phase = .storage
      isFlushWanted.store(storage.waitingDeletions > 0, ordering: .releasing)
    }
  }
}

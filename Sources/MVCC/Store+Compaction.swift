package import Storage
import Synchronization

/// How far housekeeping is with removing what a compaction made unreachable.
struct CompactionProgress {
  enum Phase {
    case idle
    /// Going through the index; the key after which to go on.
    case index(after: [UInt8]?)
    /// Going through the stored revisions; the first one not looked at.
    case storage(from: KeyChange)
  }

  var phase = Phase.idle
  var target: Int64 = -1
}

extension Store {
  /// Does one short step of the work that a compaction left: `limit` keys or stored revisions.
  /// Returns whether there is more. True without progress means that it waits: for a read that began
  /// before the compaction, or for a flush (`wantsFlush`). Housekeeping thread.
  package func compactionStep(limit: Int) throws(StorageError) -> Bool {
    switch compaction.phase {
    case .idle:
      let target = compactedRevision.rawValue
      if compactionFinished.load(ordering: .relaxed) >= target { return false }
      compaction.target = target
      compaction.phase = .index(after: nil)
      return true
    case .index(let cursor):
      if pins.oldest < compaction.target { return true }
      lock.lockForWriting()
      let next = index.compactStep(at: compaction.target, after: cursor, keysMax: limit)
      lock.unlock()
      compaction.phase =
        next.map { .index(after: $0) }
        ?? .storage(from: KeyChange(main: 0, sub: 0, isTombstone: false))
      return true
    case .storage(let first):
      guard durableCurrent.load(ordering: .acquiring) >= compaction.target,
        durableCompacted.load(ordering: .acquiring) >= compaction.target
      else { return true }
      return try removeRevisions(from: first, limit: limit)
    }
  }

  /// Removes what the index no longer holds among the next `limit` stored revisions.
  private func removeRevisions(
    from first: KeyChange, limit: Int
  ) throws(StorageError) -> Bool {
    var removed: [KeyChange] = []
    var visited = 0
    var next: KeyChange?
    let target = compaction.target
    try storage.forEachStored(from: first.main, first.sub) { main, sub, isTombstone, encoded in
      if main > target { return false }
      if visited == limit {
        next = KeyChange(main: main, sub: sub, isTombstone: isTombstone)
        return false
      }
      visited += 1
      if !keeps(main, sub, encoded) {
        removed.append(KeyChange(main: main, sub: sub, isTombstone: isTombstone))
      }
      return true
    }
    try storage.remove(removed.map { ($0.main, $0.sub) })
    StoreStatistics.add(removed.count, to: statistics.compactedKeyCounter)
    if let next {
      compaction.phase = .storage(from: next)
      return true
    }
    compactionFinished.store(target, ordering: .releasing)
    compaction.phase = .idle
    return compactedRevision.rawValue > target
  }

  /// Whether a stored revision at or below the compaction's target is still reachable: then it is the
  /// one that its key has at the target.
  private func keeps(_ main: Int64, _ sub: UInt32, _ encoded: UnsafeRawBufferPointer) -> Bool {
    guard let key = KeyValueBytes.key(of: encoded) else { return true }
    lock.lockForReading()
    defer { lock.unlock() }
    let change = index.find(key)?.change(at: compaction.target)
    return change?.main == main && change?.sub == sub
  }
}

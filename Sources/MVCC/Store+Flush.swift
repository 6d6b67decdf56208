package import Storage
import Synchronization

/// What a flush under way will have made durable.
struct SealedState {
  var current: Int64
  var compacted: Int64
}

// Moving what was applied to the disk.
extension Store {
  /// Closes the memtable, together with `metadata` and the store's own state, which are stored in
  /// the same transaction. Apply thread, between batches. Returns nil when there is nothing to do.
  package func seal(metadata: [(key: String, value: [UInt8])]) -> FlushJob? {
    var state = StoredState()
    state.current = current
    state.compacted = compacted
    state.compactionFinished = compactionFinished.load(ordering: .acquiring)
    state.stateHash = stateHash
    guard let job = storage.seal(metadata: metadata + [(StoredState.key, state.encoded())]) else {
      return nil
    }
    sealed.withLock { $0.append(SealedState(current: current, compacted: compacted)) }
    return job
  }

  /// Notes that a job's `run` succeeded. Jobs finish in the order they were sealed. Housekeeping
  /// thread.
  package func finish(_ job: FlushJob) {
    storage.finish(job)
    let state = sealed.withLock { $0.removeFirst() }
    durableCurrent.store(state.current, ordering: .releasing)
    durableCompacted.store(state.compacted, ordering: .releasing)
  }

  /// Bytes in the memtable that is being filled. Apply thread.
  package var activeBytes: Int { storage.activeBytes }

  /// Bytes applied but not yet in LMDB. Apply thread.
  package var unflushedBytes: Int { storage.unflushedBytes }

  /// Whether a compaction waits for a flush: revisions may be removed from the disk only once what
  /// supersedes them is there too. Seal soon, however little there is to flush. Any thread.
  package var wantsFlush: Bool {
    let target = compactedRevision.rawValue
    return target > compactionFinished.load(ordering: .relaxed)
      && target > durableCompacted.load(ordering: .relaxed)
  }
}

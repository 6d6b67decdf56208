package import Storage
import Synchronization

// Moving what was applied to the disk.
extension Store {
  /// Closes the memtable, together with `metadata` and the store's own state, which are stored in
  /// the same transaction. Apply thread, between batches. Returns nil when there is nothing to do.
  package func seal(metadata: MetadataChanges) -> FlushJob? {
    isFlushWanted.store(false, ordering: .releasing)
    var state = StoredState()
    state.current = current
    state.compacted = compacted
    state.compactionFinished = compactionFinished.load(ordering: .acquiring)
    state.stateHash = stateHash
    return storage.seal(metadata: metadata + [(StoredState.key, state.encoded())])
  }

  /// Notes that a job's `run` succeeded. Jobs finish in the order they were sealed. Housekeeping
  /// thread.
  package func finish(_ job: FlushJob) {
    storage.finish(job)
  }

  /// Bytes in the memtable that is being filled. Apply thread.
  package var activeBytes: Int { storage.activeBytes }

  /// Bytes applied but not yet below the memtables. Apply thread.
  package var unflushedBytes: Int { storage.activeBytes + storage.sealedBytes }

  /// Whether a compaction waits for a seal: storage deletes revisions only once what supersedes
  /// them is on the disk too. Seal soon, however little there is to flush. Any thread.
  package var wantsFlush: Bool { isFlushWanted.load(ordering: .acquiring) }
}

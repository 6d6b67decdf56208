package import Storage
import Synchronization

// A snapshot takes the place of everything.
extension Store {
  /// Replaces the state by that of the copy at `path`, from which `content` was read and which is
  /// consumed. Apply thread, between batches.
  ///
  /// Reads that began before are made again by themselves, on the new state. `hidden` runs while no
  /// reader sees the new state yet. Events that were noted and not taken are dropped: whoever
  /// watches has to look into the history from where it was.
  ///
  /// Throws when the file cannot be put in place; the store must not be used any more then.
  package func install(
    _ content: StoreContent,
    from path: String,
    hidden: () -> Void
  ) throws(StorageError) {
    var old: KeyIndex?
    try storage.install(from: path) { replace throws(StorageError) in
      lock.lockForWriting()
      defer { lock.unlock() }
      // Before anything is replaced: who reads a bit of the new state finds it changed.
      generation.add(1, ordering: .sequentiallyConsistent)
      try replace()
      old = index
      index = content.index
      current = content.state.current
      compacted = content.state.compacted
      stateHash = content.state.stateHash
      compactionFinished.store(content.state.compactionFinished, ordering: .releasing)
      events.removeAll()
      eventsAfter = current
      hidden()
      publish()
    }
    // Freeing a large index takes a while: not under the lock.
    withExtendedLifetime(old) {}
  }

  /// What readers look at without the lock. With the lock held.
  func publish() {
    storage.noteActiveBytes()
    statistics.keyGauge.store(index.keyCount, ordering: .relaxed)
    publishedCurrent.store(current, ordering: .releasing)
    publishedCompacted.store(compacted, ordering: .releasing)
  }
}

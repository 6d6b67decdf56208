import Synchronization

// How much the data takes, counted so that nothing is counted twice while it moves to the file.
extension TieredStorage {
  /// What each place holds, in bytes.
  struct Usage {
    /// The store below, as of the last flush that finished.
    var flushed = 0
    var sealed = 0
    var active = 0
  }

  /// Bytes of all data: pages in use of the store below, and the memtables that are not there
  /// yet. Falls when compacted revisions have been deleted. Any thread.
  package var bytesInUse: Int { inUse.load(ordering: .relaxed) }

  /// Notes what the active memtable has grown to. Writer only, after each batch.
  package func noteActiveBytes() {
    let bytes = activeBytes
    noteUsage { $0.active = bytes }
  }

  /// Notes what the store below holds when nothing but itself has changed.
  func noteFlushed() {
    noteUsage { $0.flushed = base.bytesInUse }
  }

  func noteUsage(_ change: (inout Usage) -> Void) {
    usage.withLock { usage in
      change(&usage)
      inUse.store(usage.flushed + usage.sealed + usage.active, ordering: .relaxed)
    }
  }
}

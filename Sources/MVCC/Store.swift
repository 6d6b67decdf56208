package import Base
package import Storage
import Synchronization

/// The multi-version key-value store of one member.
///
/// One thread, the apply thread, changes it, in batches: `beginBatch`, then `put`, `deleteRange`,
/// `txn` and `compact`, then `endBatch`, which lets readers see all of the batch at once. Any number
/// of threads read, each with a `StoreReader` of its own. A housekeeping thread flushes and compacts.
package final class Store: @unchecked Sendable {
  // Safe to share: `lock` guards the index and the revisions; what is named "apply thread" below is
  // used by that thread only; the rest is atomic or does not change.

  let storage: TieredStorage
  /// Guarded by `lock`: an installed snapshot brings its own.
  var index: KeyIndex
  let lock = ReadWriteLock()
  let pins = PinTable()

  /// The newest revision. Written by the apply thread under the lock.
  var current: Int64
  /// The compacted revision, -1 when there was no compaction yet. Guarded like `current`.
  var compacted: Int64
  /// Where housekeeping is with a compaction. Used by the housekeeping thread only.
  var compaction = CompactionProgress()

  // Apply thread.
  let applyReader: StoreReader
  let leases: (any LeaseTable)?
  var headerScratch = ByteWriter(capacity: 64)
  /// CRC32C over every change and compaction ever applied, in order.
  package internal(set) var stateHash: UInt32
  /// Whether the batch at hand notes its events.
  var recordsEvents = false
  var events = EventWriter()
  /// The revision after which `events` begins.
  var eventsAfter: Int64 = 0

  /// The compaction whose revisions have all been removed; written by the housekeeping thread.
  let compactionFinished: Atomic<Int64>
  /// Set by housekeeping when deletions wait for a seal, cleared by the seal.
  let isFlushWanted = Atomic<Bool>(false)

  /// How many want to know of events.
  let watcherCount = Atomic<Int>(0)

  /// Counts the installed snapshots. A read that finds it changed may have seen parts of two states.
  let generation = Atomic<Int>(0)

  package let statistics = StoreStatistics()
  let publishedCurrent: Atomic<Int64>
  let publishedCompacted: Atomic<Int64>

  /// Opens the store on `storage`: rebuilds the index from what is stored there, and tells
  /// `leases`, which must know its leases already, the keys that hang on them.
  ///
  /// - Throws: `StorageError` when reading fails, `.corrupt` included.
  package init(
    storage: TieredStorage,
    leases: (any LeaseTable)? = nil
  ) throws(StorageError) {
    let restored = try StoreContent(reading: storage.base, leases: leases)
    self.storage = storage
    self.leases = leases
    index = restored.index
    current = restored.state.current
    compacted = restored.state.compacted
    stateHash = restored.state.stateHash
    applyReader = StoreReader(storage)
    publishedCurrent = Atomic(current)
    publishedCompacted = Atomic(compacted)
    compactionFinished = Atomic(restored.state.compactionFinished)
  }

  /// The newest revision that readers see; 1 in an empty store. Any thread.
  package var currentRevision: Revision { Revision(publishedCurrent.load(ordering: .acquiring)) }

  /// Revisions below this one can no longer be read; -1 before the first compaction. Any thread.
  package var compactedRevision: Revision {
    Revision(publishedCompacted.load(ordering: .acquiring))
  }

  /// A reader for one thread.
  package func makeReader() -> StoreReader { StoreReader(storage) }
}

// Batches. Apply thread.
extension Store {
  /// Opens a batch: readers wait until `endBatch`.
  package func beginBatch() {
    lock.lockForWriting()
    beginEvents()
    applyReader.begin()
  }

  /// Closes the batch and lets readers see it.
  package func endBatch() {
    applyReader.end()
    publish()
    lock.unlock()
  }

  /// The newest revision as the batch at hand has it. Apply thread.
  package var appliedRevision: Revision { Revision(current) }

  /// Runs `body` as one batch.
  package func withApplyBatch<Result>(_ body: () -> Result) -> Result {
    beginBatch()
    defer { endBatch() }
    return body()
  }
}

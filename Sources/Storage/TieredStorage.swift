package import Base
import Synchronization

/// The revision store as MVCC sees it: memtables (one active, the sealed ones before it) over a
/// `RevisionStorage`.
///
/// Threads: one *writer* (the apply thread) appends and seals; one *flusher* runs jobs and
/// deletions; any thread reads through a `StorageReader` of its own. The lock covers only list
/// copies.
///
/// ## Why a reader always finds what the index names
///
/// The caller keeps two rules. A revision enters the index after `append` returned. Compaction
/// takes a revision out of the index (under the index's own lock) before it calls `delete`, and a
/// reader resolves revisions in the index, under that lock, after `begin` and copies their values
/// before `end`. Call the reader's resolution of revision r the moment t.
///
/// 1. *r is in a memtable on the list, or committed below.* `append` puts it into the active
///    table; a table leaves the list only in `finish`, after the commit that has it.
/// 2. *The reader pins the list S first and the snapshot L of the store below after it.* If r's
///    table is not in S although r was appended before, the table was dropped before S was taken,
///    so r was committed before L was. If r was appended to a table of S after S was pinned, the
///    reader sees it there, because tables in S are shared, not copied. If r lies in a table that
///    became active after S was pinned, S and L both miss it; then the reader pins S' and L' anew
///    and the first case applies to them. One repetition is enough: S' is taken after t.
/// 3. *r is not deleted below before the reader ends.* Each `delete` raises `epoch`; each reader
///    stores the epoch it saw in `begin`. The flusher leaves a deletion alone, and does not skip
///    its revisions when it flushes, while a reader that began in an earlier epoch has not ended.
///    If the reader resolved r, then r left the index after t, `delete` came after that, and the
///    index's lock orders the reader's store of its epoch before the flusher's look at it. So the
///    flusher sees the reader and waits. If the flusher does not see the reader, the resolution
///    comes after the removal from the index and cannot name r.
///
/// By 3, pinning may wait until the first lookup, so `begin` costs one atomic store and a value
/// that comes from a memtable never touches the store below.
///
/// ## What a crash leaves
///
/// A job commits the revisions up to its seal with the metadata of exactly that state, in one
/// transaction (invariant P1). A deletion is committed only after a job that was sealed later than
/// the `delete` call: so the durable metadata always knows of the compaction that deleted
/// something, and a replay from the durable applied index finds everything it can ask for.
/// Deletions that had not been committed are forgotten by a crash: whoever rebuilds the index
/// compacts it again up to the compact revision in the metadata, and deletes what falls out. The
/// current revision belongs into the metadata too, since compaction can delete the newest one (R5).
package final class TieredStorage: @unchecked Sendable {
  package struct Options: Sendable {
    /// How much memory of flushed memtables is kept for the next ones, in bytes.
    package var keptBytesMax = 16 << 20

    package init() {}
  }

  /// A list of memtables, oldest first; the last one is (or was) active.
  final class TableList: Sendable {
    let tables: [Memtable]

    init(_ tables: [Memtable]) {
      self.tables = tables
    }
  }

  struct Shared {
    var list: TableList
    /// Sealed and not finished, oldest first.
    var jobs: [FlushJob] = []
    /// Deletions that wait for the next seal.
    var unsealed: [Deletions] = []
    /// Deletions whose compaction is durable, oldest first.
    var ready: [Deletions] = []
    var readers: [ReaderSlot] = []
  }

  /// The store below the memtables.
  package let base: any RevisionStorage
  let shared: Mutex<Shared>
  /// Held through every commit, so that none happens beside `install`; counts the installs.
  let commits = Mutex<Int>(0)
  /// Raised by each `delete`; readers that began in an earlier epoch hold that deletion up.
  let epoch = Atomic<UInt64>(1)
  let sealedByteCount = Atomic<Int>(0)
  let usage: Mutex<Usage>
  let inUse = Atomic<Int>(0)
  let pool: ChunkPool
  // The writer's own.
  private var active: Memtable
  private var scratch = ByteWriter(capacity: 4096)
  private var lastAppended: ChangeRevision?
  private var installs = 0

  package init(over base: any RevisionStorage, options: Options = Options()) {
    self.base = base
    pool = ChunkPool(keptBytesMax: options.keptBytesMax)
    active = Memtable(pool: pool)
    shared = Mutex(Shared(list: TableList([active])))
    usage = Mutex(Usage(flushed: base.bytesInUse))
    inUse.store(base.bytesInUse, ordering: .relaxed)
  }

  /// Adds a revision above all appended before; `encode` appends its bytes to an empty writer.
  /// Writer only.
  @inlinable
  package func append(
    _ revision: ChangeRevision,
    tombstone: Bool,
    _ encode: (inout ByteWriter) -> Void
  ) {
    withScratch { writer in
      writer.removeAll()
      encode(&writer)
      append(revision, tombstone: tombstone, bytes: writer.bytes)
    }
  }

  @usableFromInline
  func withScratch(_ body: (inout ByteWriter) -> Void) {
    body(&scratch)
  }

  /// Adds a revision above all appended before, with a copy of `bytes`. Writer only.
  package func append(
    _ revision: ChangeRevision,
    tombstone: Bool,
    bytes: UnsafeRawBufferPointer
  ) {
    precondition(revision >= .first, "a revision below zero: \(revision)")
    if let lastAppended {
      precondition(lastAppended < revision, "revision \(revision) after \(lastAppended)")
    }
    lastAppended = revision
    active.append(revision, tombstone: tombstone, bytes)
  }

  /// Bytes that the active memtable holds. Writer only.
  ///
  /// Seal at 4 to 8 MiB: larger batches flush no faster, and LMDB keeps memory for the pages of the
  /// largest one.
  package var activeBytes: Int { active.bytes }

  /// Bytes in memtables that are sealed and not flushed yet. Any thread.
  package var sealedBytes: Int { sealedByteCount.load(ordering: .relaxed) }

  /// Closes the active memtable and starts the next. Writer only.
  ///
  /// - Parameter metadata: What belongs to exactly this state: applied index, term, membership,
  ///   compact and current revision, hash, leases. It becomes durable with the revisions, all or
  ///   nothing; what is not named stays as it was.
  /// - Returns: The work for the flusher, to be run in the order of the seals; nil when there is
  ///   neither a revision nor metadata nor a deletion that waits.
  package func seal(metadata: MetadataChanges) -> FlushJob? {
    let table = active
    let count = table.count
    let next = count > 0 ? Memtable(pool: pool) : table
    let installs = installs
    let job = shared.withLock { shared -> FlushJob? in
      guard count > 0 || !metadata.isEmpty || !shared.unsealed.isEmpty else { return nil }
      let job = FlushJob(
        storage: self,
        table: count > 0 ? table : nil,
        metadata: metadata,
        deletions: shared.unsealed,
        installs: installs
      )
      shared.unsealed = []
      shared.jobs.append(job)
      if count > 0 { shared.list = TableList(shared.list.tables + [next]) }
      return job
    }
    if job != nil, count > 0 {
      sealedByteCount.add(table.bytes, ordering: .relaxed)
      active = next
      noteUsage { usage in
        usage.sealed += table.bytes
        usage.active = 0
      }
    }
    return job
  }

  /// The committed bytes of a metadata key: what a restart reads. Any thread.
  package func metadata(_ key: String) throws(StorageError) -> [UInt8]? {
    try base.metadata(key)
  }

  /// Visits the committed metadata keys that begin with `prefix`, ascending: what a restart reads.
  /// Any thread.
  package func forEachMetadata(
    prefix: String,
    _ visit: MetadataVisitor
  ) throws(StorageError) {
    try base.forEachMetadata(prefix: prefix, visit)
  }

  /// Replaces everything, memtables included, with the copy at `path`. Writer only. `exclusively`
  /// calls its argument, which does the replacing, once, with whatever lock readers need to see old
  /// or new and no mixture.
  ///
  /// Jobs that are not finished become void, waiting deletions are forgotten. A reader in use keeps
  /// what it has pinned; a revision of the old state that it has not looked up yet may be gone.
  package func install(
    from path: String,
    exclusively: (_ replace: () throws(StorageError) -> Void) throws(StorageError) -> Void
  ) throws(StorageError) {
    try commits.withLock { commitInstalls throws(StorageError) in
      try exclusively { () throws(StorageError) in
        try base.install(from: path)
        commitInstalls += 1
        installs = commitInstalls
        forgetMemtables()
      }
      try base.syncInstall()
    }
  }

  /// The same for a caller whose readers are elsewhere.
  package func install(from path: String) throws(StorageError) {
    try install(from: path) { replace throws(StorageError) in try replace() }
  }

  private func forgetMemtables() {
    let fresh = Memtable(pool: pool)
    active = fresh
    lastAppended = nil
    shared.withLock { shared in
      shared.list = TableList([fresh])
      shared.jobs = []
      shared.unsealed = []
      shared.ready = []
    }
    sealedByteCount.store(0, ordering: .relaxed)
    noteUsage { $0 = Usage(flushed: base.bytesInUse) }
  }

  /// A reader for one thread at a time. Any thread.
  package func makeReader() -> StorageReader {
    let slot = ReaderSlot()
    shared.withLock { $0.readers.append(slot) }
    return StorageReader(self, slot)
  }

  func remove(_ slot: ReaderSlot) {
    shared.withLock { shared in shared.readers.removeAll { $0 === slot } }
  }
}

extension TieredStorage {
  /// `RevisionStorage.defragment()` for the store below; memtables are not concerned. Call it on a
  /// background thread other than the flusher.
  ///
  /// Gives up with `cancelled` soon after `isCancelled` says so; nothing has changed then.
  package func defragment(
    isCancelled: () -> Bool = { false }
  ) throws(StorageError) {
    try base.defragment(isCancelled: isCancelled)
    noteFlushed()
  }

  /// Writes a compact, durable copy of what has been flushed, metadata included. Seal and run the
  /// jobs first to have everything in it. On a background thread.
  package func copySnapshot(to path: String) throws(StorageError) {
    try base.copyCompacted(to: path)
  }
}

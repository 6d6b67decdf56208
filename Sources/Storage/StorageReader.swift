package import Base
import Synchronization

/// Where a reader says since which epoch it has been in use.
final class ReaderSlot: Sendable {
  static let idle: UInt64 = 0

  let epoch = Atomic<UInt64>(ReaderSlot.idle)
}

/// Reads revisions from memtables and the store below. One thread at a time uses it.
///
/// Between `begin` and `end` all bytes handed out stay valid, and whatever the index named in that
/// time is found; see `TieredStorage` for the argument. Deletions wait meanwhile, so a long answer
/// ends and begins again between its parts. An ended reader holds on to nothing.
package final class StorageReader {
  private let storage: TieredStorage
  private let slot: ReaderSlot
  private var depth = 0
  /// The newest list pinned since `begin`, and those before it, whose bytes were handed out.
  private var list: TieredStorage.TableList?
  private var earlierLists: [TieredStorage.TableList] = []
  /// Readers of the store below: the first `bases.begun` hold a snapshot, the last of them is the
  /// newest.
  private var bases: [RevisionReader] = []
  private var begun = 0

  init(_ storage: TieredStorage, _ slot: ReaderSlot) {
    self.storage = storage
    self.slot = slot
  }

  deinit {
    if depth > 0 { release() }
    storage.remove(slot)
  }

  /// Starts a use of the reader; nests, and costs next to nothing when begun already.
  package func begin() {
    depth += 1
    guard depth == 1 else { return }
    slot.epoch.store(
      storage.epoch.load(ordering: .sequentiallyConsistent),
      ordering: .sequentiallyConsistent
    )
  }

  /// Ends the use that the matching `begin` started. The outermost one invalidates all bytes.
  package func end() {
    precondition(depth > 0, "end without begin")
    depth -= 1
    if depth == 0 { release() }
  }

  private func release() {
    list = nil
    if !earlierLists.isEmpty { earlierLists.removeAll() }
    while begun > 0 {
      begun -= 1
      bases[begun].end()
    }
    slot.epoch.store(ReaderSlot.idle, ordering: .sequentiallyConsistent)
  }

  /// The value of a revision that the index named since `begin`; nil only for one it did not.
  /// The bytes are valid until `end`.
  package func value(of revision: ChangeRevision) throws(StorageError) -> RevisionValue? {
    precondition(depth > 0, "a read outside begin and end")
    let tables = pinned().tables
    if let found = Self.find(revision, tables) { return found }
    if mayBeBelow(revision, tables) {
      if begun == 0 { try pinBase() }
      if let found = try bases[begun - 1].value(of: revision) { return found }
    }
    // Appended to a table that became active after the pin, and perhaps flushed since.
    pinAgain()
    if let found = Self.find(revision, pinned().tables) { return found }
    try pinBase()
    return try bases[begun - 1].value(of: revision)
  }

  /// Calls `body` with the value of a revision that the index named since `begin`. Answers nil
  /// when it is unknown.
  @inlinable
  package func withValue<Result>(
    of revision: ChangeRevision,
    _ body: (UnsafeRawBufferPointer, Bool) -> Result
  ) throws(StorageError) -> Result? {
    guard let value = try value(of: revision) else { return nil }
    return body(value.bytes, value.tombstone)
  }

  /// Visits all revisions from `first` to `last`, both included, ascending: also those that the
  /// index no longer names and whose deletion is not committed yet.
  package func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) {
    precondition(depth > 0, "a read outside begin and end")
    pinAgain()
    try pinBase()
    // What the tables have is taken from them, also when it has been committed meanwhile.
    let tables = pinned().tables
    let lowest = tables.lazy.compactMap(\.first).first
    var stopped = false
    let goOn = try bases[begun - 1].scan(from: first, through: last) {
      revision,
      tombstone,
      bytes in
      if let lowest, revision >= lowest {
        stopped = true
        return false
      }
      return visit(revision, tombstone, bytes)
    }
    guard goOn || stopped else { return }
    for table in tables {
      guard table.scan(from: first, through: last, visit) else { return }
    }
  }

  @inline(__always)
  private func pinned() -> TieredStorage.TableList {
    if let list { return list }
    let pinned = storage.shared.withLock { $0.list }
    list = pinned
    return pinned
  }

  private func pinAgain() {
    if let list { earlierLists.append(list) }
    list = storage.shared.withLock { $0.list }
  }

  /// Takes a snapshot of the store below; earlier ones stay, because their bytes were handed out.
  private func pinBase() throws(StorageError) {
    if begun == bases.count { bases.append(storage.base.makeReader()) }
    try bases[begun].begin()
    begun += 1
  }

  @inline(__always)
  private static func find(_ revision: ChangeRevision, _ tables: [Memtable]) -> RevisionValue? {
    var index = tables.count - 1
    while index >= 0 {
      let table = tables[index]
      if let first = table.first, first <= revision { return table.find(revision) }
      index -= 1
    }
    return nil
  }

  private func mayBeBelow(_ revision: ChangeRevision, _ tables: [Memtable]) -> Bool {
    for table in tables {
      if let first = table.first { return revision < first }
    }
    return true
  }
}

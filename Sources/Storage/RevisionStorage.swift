package import Base

/// One stored change: the encoded KeyValue, and whether it is a deletion's tombstone.
@frozen
package struct RevisionValue {
  /// The bytes, valid until the reader that returned them ends.
  package let bytes: UnsafeRawBufferPointer
  package let tombstone: Bool

  @inlinable
  package init(bytes: UnsafeRawBufferPointer, tombstone: Bool) {
    self.bytes = bytes
    self.tombstone = tombstone
  }
}

/// Receives records in ascending order; the bytes are valid during the call. Answers false to stop.
package typealias RevisionVisitor = (
  _ revision: ChangeRevision, _ tombstone: Bool, _ bytes: UnsafeRawBufferPointer
) -> Bool

/// Receives a metadata key and its value; the bytes are valid during the call.
package typealias MetadataVisitor = (_ key: String, _ value: UnsafeRawBufferPointer) -> Void

/// Metadata of one durable transaction: a key's new value, or nil to remove the key. When a key is
/// named twice, the later one counts.
package typealias MetadataChanges = [(key: String, value: [UInt8]?)]

/// What lies under the memtables: revisions and metadata that survive a crash.
///
/// `LMDBStorage` is the one for production; `MemoryStorage` serves tests and the simulator.
/// Every method may be called from any thread.
package protocol RevisionStorage: AnyObject, Sendable {
  /// A reader for one thread at a time.
  func makeReader() -> RevisionReader

  /// Makes the whole batch durable, or nothing of it.
  ///
  /// A revision that is stored already is overwritten, so repeating a batch changes nothing.
  func commit(_ batch: RevisionBatch) throws(StorageError)

  /// The committed bytes of a metadata key, or nil when it was never written.
  func metadata(_ key: String) throws(StorageError) -> [UInt8]?

  /// Visits the committed metadata keys that begin with `prefix`, in ascending order of their bytes.
  func forEachMetadata(prefix: String, _ visit: MetadataVisitor) throws(StorageError)

  /// Visits the committed revisions from `first` to `last`, both included, in ascending order.
  func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  )
    throws(StorageError)

  /// Size of the file in bytes, as of the last commit.
  var bytesOnDisk: Int { get }

  /// How much of the file holds data, in bytes, as of the last commit.
  var bytesInUse: Int { get }

  /// Writes a compact, durable copy, metadata included, to a path where nothing is yet.
  ///
  /// Commits go on meanwhile and are not part of it. Waits for a defragmentation under way.
  func copyCompacted(to path: String) throws(StorageError)

  /// Rewrites the file without its holes while readers and commits go on. Throws `cancelled`, with
  /// nothing changed, when `isCancelled` says so before the new file is complete.
  func defragment(isCancelled: () -> Bool) throws(StorageError)

  /// Opens the copy at `path`, whose structure was checked, so that `install` of it has little left to
  /// do. Beside readers and commits, and as often as one likes; only the last one is kept.
  func prepareInstall(from path: String) throws(StorageError)

  /// Lets go of the copy that was prepared and is not going to be installed.
  func abandonInstall()

  /// Replaces all content with that of the copy at `path`, which is consumed. Unless it was prepared
  /// it is checked first. A defragmentation under way is given up for it. When it throws nothing has
  /// changed. It is certain to outlive a crash once `syncInstall` has returned.
  func install(from path: String) throws(StorageError)

  /// Makes the last install durable. May be called again when it throws; commits wait for it.
  func syncInstall() throws(StorageError)

  /// Gives the pages that reading mapped back to the system; later reads fetch them again.
  func dropResidentPages()
}

extension ChangeRevision {
  /// Before all revisions.
  package static let first = ChangeRevision(main: 0, sub: 0)
  /// After all revisions.
  package static let last = ChangeRevision(main: .max, sub: .max)
}

extension RevisionStorage {
  package func prepareInstall(from path: String) throws(StorageError) {}

  package func abandonInstall() {}

  package func syncInstall() throws(StorageError) {}

  /// Rewrites the file without its holes while readers and commits go on.
  package func defragment() throws(StorageError) {
    try defragment(isCancelled: { false })
  }

  /// Visits everything committed, in ascending order: what a restart does.
  package func scanAll(_ visit: RevisionVisitor) throws(StorageError) {
    try scan(from: .first, through: .last, visit)
  }
}

/// A reader over committed revisions. One thread at a time uses it.
///
/// Between `begin` and `end` it sees the state as of `begin`. After `end` it holds on to nothing.
package class RevisionReader {
  /// Takes a snapshot. Must not be called again before `end`.
  func begin() throws(StorageError) {
    preconditionFailure("a subclass must override this")
  }

  /// Lets the snapshot go; all bytes handed out become invalid.
  func end() {
    preconditionFailure("a subclass must override this")
  }

  /// The value of a revision in the snapshot; its bytes are valid until `end`.
  func value(of revision: ChangeRevision) throws(StorageError) -> RevisionValue? {
    preconditionFailure("a subclass must override this")
  }

  /// Visits the snapshot's revisions from `first` to `last`, both included. Answers false when the
  /// visitor stopped.
  func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) -> Bool {
    preconditionFailure("a subclass must override this")
  }
}

/// Everything that one durable transaction writes.
package struct RevisionBatch {
  /// Keys are 1 to `metadataKeyBytesMax` ASCII characters; a value replaces the one before, nil
  /// removes the key.
  package var metadata: MetadataChanges
  /// Revisions to remove; one that is not stored is passed over.
  package var deletions: ArraySlice<ChangeRevision>
  /// The revisions to add, or nil.
  let table: Memtable?
  /// Those of `table` that are not to be written, ascending.
  let skipped: [ChangeRevision]

  /// Longest key of metadata, in bytes.
  package static let metadataKeyBytesMax = 128

  package init(
    metadata: MetadataChanges = [],
    deletions: ArraySlice<ChangeRevision> = []
  ) {
    self.init(metadata: metadata, deletions: deletions, table: nil, skipped: [])
  }

  init(
    metadata: MetadataChanges,
    deletions: ArraySlice<ChangeRevision>,
    table: Memtable?,
    skipped: [ChangeRevision]
  ) {
    for (key, _) in metadata {
      precondition(
        (1...Self.metadataKeyBytesMax).contains(key.utf8.count)
          && key.utf8.allSatisfy { $0 < 0x80 },
        "not a metadata key: \(key)"
      )
    }
    self.metadata = metadata
    self.deletions = deletions
    self.table = table
    self.skipped = skipped
  }

  /// Calls `body` with every revision to add, ascending.
  func forEachRevision<Failure: Error>(
    _ body: (ChangeRevision, RevisionValue) throws(Failure) -> Void
  ) throws(Failure) {
    guard let table else { return }
    var nextSkipped = 0
    for index in 0..<table.count {
      let entry = table.entry(at: index)
      while nextSkipped < skipped.count, skipped[nextSkipped] < entry.revision { nextSkipped += 1 }
      if nextSkipped < skipped.count, skipped[nextSkipped] == entry.revision { continue }
      try body(entry.revision, entry.value)
    }
  }
}

package import Base
import Synchronization

/// The files of one simulated machine. They outlive the `MemoryStorage` objects over them, so a
/// simulated crash keeps what was committed and nothing else.
package final class MemoryDisk: Sendable {
  /// What one file holds.
  package struct Content: Sendable {
    struct Record: Sendable {
      let revision: ChangeRevision
      let tombstone: Bool
      let bytes: SharedBytes
    }

    var records: [Record] = []
    var metadata: [String: [UInt8]] = [:]
    var byteCount = 0

    /// No revisions, no metadata.
    package init() {}

    package var recordCount: Int { records.count }

    /// Whether it is the same, to the last bit.
    package func equals(_ other: Content) -> Bool {
      metadata == other.metadata && records.count == other.records.count
        && zip(records, other.records).allSatisfy { left, right in
          left.revision == right.revision && left.tombstone == right.tombstone
            && left.bytes.array == right.bytes.array
        }
    }

    /// Loses the record at a place, as a file does that is damaged on its way.
    package mutating func loseRecord(at place: Int) {
      byteCount -= records.remove(at: place).bytes.count
    }

    /// Sets or, with nil, removes a value beside the revisions.
    package mutating func setMetadata(_ key: String, _ value: [UInt8]?) { metadata[key] = value }

    package func metadata(_ key: String) -> [UInt8]? { metadata[key] }

    /// The place of a revision, or of the first one after it.
    func position(of revision: ChangeRevision) -> Int {
      var low = 0
      var high = records.count
      while low < high {
        let middle = (low + high) / 2
        if records[middle].revision < revision { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }

  private let files = Mutex<[String: Content]>([:])

  /// A disk without files.
  package init() {}

  /// The file at a path, to be carried to another machine's disk for instance.
  package func content(at path: String) -> Content? {
    files.withLock { $0[path] }
  }

  /// Writes, replaces or (with nil) removes the file at a path.
  package func setContent(_ content: Content?, at path: String) {
    files.withLock { $0[path] = content }
  }

  func change<Result>(_ path: String, _ body: (inout Content) -> Result) -> Result {
    files.withLock { body(&$0[path, default: Content()]) }
  }
}

/// A `RevisionStorage` on a `MemoryDisk`: for tests and the simulator.
package final class MemoryStorage: RevisionStorage {
  private let disk: MemoryDisk
  private let path: String
  private let fault = Mutex<StorageError?>(nil)

  /// Opens the store at a path of the disk; an absent one is made.
  package init(disk: MemoryDisk = MemoryDisk(), path: String = "db") {
    self.disk = disk
    self.path = path
    disk.change(path) { _ in }
  }

  /// While set, every commit throws it and changes nothing.
  package func setCommitFault(_ error: StorageError?) {
    fault.withLock { $0 = error }
  }

  package func makeReader() -> RevisionReader {
    MemoryReader { [disk, path] in disk.content(at: path) ?? MemoryDisk.Content() }
  }

  package func commit(_ batch: RevisionBatch) throws(StorageError) {
    if let error = fault.withLock({ $0 }) { throw error }
    disk.change(path) { content in
      batch.forEachRevision { revision, value in
        content.insert(
          MemoryDisk.Content.Record(
            revision: revision,
            tombstone: value.tombstone,
            bytes: SharedBytes(copying: value.bytes)
          )
        )
      }
      content.remove(batch.deletions)
      for (key, value) in batch.metadata { content.metadata[key] = value }
    }
  }

  package func metadata(_ key: String) throws(StorageError) -> [UInt8]? {
    disk.content(at: path)?.metadata[key]
  }

  package func forEachMetadata(
    prefix: String,
    _ visit: MetadataVisitor
  ) throws(StorageError) {
    let metadata = disk.content(at: path)?.metadata ?? [:]
    let chosen = metadata.filter { $0.key.hasPrefix(prefix) }.sorted { $0.key < $1.key }
    for (key, value) in chosen { value.withUnsafeBytes { visit(key, $0) } }
  }

  package func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) {
    let reader = makeReader()
    try reader.begin()
    _ = try reader.scan(from: first, through: last, visit)
    reader.end()
  }

  package var bytesOnDisk: Int { disk.content(at: path)?.byteCount ?? 0 }

  package var bytesInUse: Int { bytesOnDisk }

  package func copyCompacted(to path: String) throws(StorageError) {
    disk.setContent(disk.content(at: self.path), at: path)
  }

  package func defragment(isCancelled: () -> Bool) throws(StorageError) {}

  package func install(from path: String) throws(StorageError) {
    guard let content = disk.content(at: path) else {
      throw .notAStore(path: path, reason: "no such file")
    }
    disk.setContent(content, at: self.path)
    disk.setContent(nil, at: path)
  }

  package func dropResidentPages() {}
}

extension MemoryDisk.Content {
  fileprivate mutating func insert(_ record: Record) {
    byteCount += record.bytes.count
    guard let last = records.last, last.revision >= record.revision else {
      records.append(record)
      return
    }
    let place = position(of: record.revision)
    if records[place].revision == record.revision {
      byteCount -= records[place].bytes.count
      records[place] = record
    } else {
      records.insert(record, at: place)
    }
  }

  fileprivate mutating func remove(_ revisions: ArraySlice<ChangeRevision>) {
    guard !revisions.isEmpty else { return }
    let doomed = Set(revisions)
    records.removeAll { doomed.contains($0.revision) }
    byteCount = records.reduce(0) { $0 + $1.bytes.count }
  }
}

private final class MemoryReader: RevisionReader {
  private let load: () -> MemoryDisk.Content
  private var snapshot: MemoryDisk.Content?

  init(_ load: @escaping () -> MemoryDisk.Content) {
    self.load = load
  }

  override func begin() throws(StorageError) {
    precondition(snapshot == nil, "begin twice")
    snapshot = load()
  }

  override func end() {
    snapshot = nil
  }

  override func value(of revision: ChangeRevision) throws(StorageError) -> RevisionValue? {
    guard let snapshot else { preconditionFailure("a read outside begin and end") }
    let place = snapshot.position(of: revision)
    guard place < snapshot.records.count, snapshot.records[place].revision == revision else {
      return nil
    }
    // The block is kept alive by the snapshot, so its bytes stay where they are until `end`.
    let record = snapshot.records[place]
    return RevisionValue(bytes: record.bytes.withUnsafeBytes { $0 }, tombstone: record.tombstone)
  }

  override func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) -> Bool {
    guard let snapshot else { preconditionFailure("a read outside begin and end") }
    var place = snapshot.position(of: first)
    while place < snapshot.records.count, snapshot.records[place].revision <= last {
      let record = snapshot.records[place]
      let goOn = record.bytes.withUnsafeBytes { visit(record.revision, record.tombstone, $0) }
      guard goOn else { return false }
      place += 1
    }
    return true
  }
}

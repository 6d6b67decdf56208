import CLMDB
import Glibc
import Synchronization

/// Everything that a store has committed at one moment, metadata and revisions, as a stream of
/// records for another member (`RecordParser` takes it apart).
///
/// It is a read transaction: commits go on and are not part of it, and neither a defragmentation nor an
/// install disturbs it. Until it ends LMDB takes no page anew that was in use when it began, so the
/// file grows by at most what commits write meanwhile. A store that has to be mapped anew, because
/// its file has outgrown the map, does not wait for it: the export is cancelled.
package final class LMDBExport: Sendable {
  /// The stream is not longer than this: what the records occupy in the file.
  package let bytesMax: Int
  private let storage: LMDBStorage
  private let source: Mutex<ExportCursor?>

  /// What `next` needs room for at least.
  package static let bufferBytesMin = RecordStream.headBytes + RecordStream.keyBytesMax

  /// What `storage` has committed now.
  package init(of storage: LMDBStorage) throws(StorageError) {
    let cursor = try ExportCursor(storage)
    self.storage = storage
    bytesMax = cursor.bytesMax
    source = Mutex(cursor)
    storage.exports.withLock { $0.append(self) }
  }

  /// The bytes of a metadata key.
  package func metadata(_ key: String) throws(StorageError) -> [UInt8]? {
    try source.withLock { source throws(StorageError) in
      guard let cursor = source else { throw .cancelled }
      return try cursor.metadata(key)
    }
  }

  /// Writes the next bytes of the stream into `buffer` and returns how many they are, 0 at the end.
  package func next(into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
    precondition(buffer.count >= Self.bufferBytesMin, "no room for a record's head")
    return try source.withLock { source throws(StorageError) in
      guard source != nil else { throw .cancelled }
      return try source?.fill(buffer) ?? 0
    }
  }

  /// Ends the transaction; whoever made the export must call it. Later calls throw `cancelled`.
  package func end() {
    storage.exports.withLock { exports in exports.removeAll { $0 === self } }
    cancel()
  }

  /// The same for the storage, which has its list in hand.
  func cancel() {
    source.withLock { source in
      source?.close()
      source = nil
    }
  }
}

extension LMDBStorage {
  /// Has all exports give up their transactions.
  func cancelExports() {
    exports.withLock { exports in
      for export in exports { export.cancel() }
      exports = []
    }
  }
}

/// Where an export is.
private struct ExportCursor: @unchecked Sendable {
  // Safe to share: it is touched with the export's lock held only.
  let bytesMax: Int
  private let environment: LMDBEnvironment
  private let path: String
  private let transaction: OpaquePointer
  private let cursor: OpaquePointer
  /// Of the current record's value, in LMDB's map.
  private var rest = UnsafeRawBufferPointer(start: nil, count: 0)
  private var isAtEnd = false
  /// What was read since the pages were given back.
  private var residentBytes = 0

  init(_ storage: LMDBStorage) throws(StorageError) {
    let (environment, _) = try storage.use()
    var transaction: OpaquePointer?
    var status = mdb_txn_begin(environment.handle, nil, UInt32(MDB_RDONLY), &transaction)
    var cursor: OpaquePointer?
    if status == 0 { status = mdb_cursor_open(transaction, environment.database, &cursor) }
    guard status == 0, let transaction, let cursor else {
      if let transaction { mdb_txn_abort(transaction) }
      environment.uses.subtract(1, ordering: .releasing)
      throw StorageError(lmdb: status, during: "exporting", path: storage.path)
    }
    var statistics = MDB_stat()
    mdb_stat(transaction, environment.database, &statistics)
    bytesMax = environment.bytes(of: statistics)
    self.environment = environment
    self.transaction = transaction
    self.cursor = cursor
    path = storage.path
    environment.advise(Int32(MADV_SEQUENTIAL))
  }

  func close() {
    environment.advise(Int32(MADV_RANDOM))
    environment.dropResidentPages()
    mdb_cursor_close(cursor)
    mdb_txn_abort(transaction)
    environment.uses.subtract(1, ordering: .releasing)
  }

  func metadata(_ key: String) throws(StorageError) -> [UInt8]? {
    var data = MDB_val()
    let status = withDatabaseValue(RevisionKey.metadataKey(key)) {
      mdb_get(transaction, environment.database, &$0, &data)
    }
    if status == MDB_NOTFOUND { return nil }
    guard status == 0 else { throw StorageError(lmdb: status, during: "exporting", path: path) }
    return [UInt8](UnsafeRawBufferPointer(start: data.mv_data, count: data.mv_size))
  }

  mutating func fill(_ buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
    var count = 0
    repeat {
      if rest.isEmpty {
        guard buffer.count - count >= LMDBExport.bufferBytesMin,
          let head = try nextHead(UnsafeMutableRawBufferPointer(rebasing: buffer[count...]))
        else { break }
        count += head
      }
      let length = min(rest.count, buffer.count - count)
      UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest.prefix(length)))
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(length))
      count += length
    } while rest.isEmpty
    residentBytes += count
    if residentBytes > LMDBStorage.scanResidentBytesMax {
      environment.dropResidentPages()
      residentBytes = 0
    }
    return count
  }

  /// Goes to the next record and writes its head and its key; returns how many bytes, nil at the end.
  private mutating func nextHead(
    _ buffer: UnsafeMutableRawBufferPointer
  ) throws(StorageError) -> Int? {
    guard !isAtEnd else { return nil }
    var key = MDB_val()
    var data = MDB_val()
    let status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
    if status == MDB_NOTFOUND {
      isAtEnd = true
      return nil
    }
    guard status == 0 else { throw StorageError(lmdb: status, during: "exporting", path: path) }
    guard key.mv_size <= RecordStream.keyBytesMax, data.mv_size <= RecordStream.valueBytesMax else {
      throw .corrupt(path: path, reason: "a record has a strange form")
    }
    buffer[0] = UInt8(key.mv_size)
    buffer.storeBytes(of: UInt32(data.mv_size).littleEndian, toByteOffset: 1, as: UInt32.self)
    let keyBytes = UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size)
    UnsafeMutableRawBufferPointer(rebasing: buffer[RecordStream.headBytes...])
      .copyMemory(from: keyBytes)
    rest = UnsafeRawBufferPointer(start: data.mv_data, count: data.mv_size)
    return RecordStream.headBytes + key.mv_size
  }
}

import Base
import CLMDB

extension LMDBEnvironment {
  /// Writes and syncs a batch in one transaction; answers a status of LMDB. Nothing is changed
  /// unless it is 0.
  func commit(_ batch: RevisionBatch) -> Int32 {
    inTransaction { transaction, cursor in
      var writer = RecordWriter(cursor)
      do throws(Failed) {
        try batch.forEachRevision { revision, value throws(Failed) in
          try writer.write(revision, value)
        }
        for revision in batch.deletions {
          try writer.remove(revision, transaction, database)
        }
        for (key, value) in batch.metadata {
          try writer.write(metadata: key, value, transaction, database)
        }
        return 0
      } catch {
        return error.status
      }
    }
  }

  func inTransaction(_ body: (OpaquePointer?, OpaquePointer?) -> Int32) -> Int32 {
    var transaction: OpaquePointer?
    var status = mdb_txn_begin(handle, nil, 0, &transaction)
    guard status == 0 else { return status }
    var cursor: OpaquePointer?
    status = mdb_cursor_open(transaction, database, &cursor)
    guard status == 0 else {
      mdb_txn_abort(transaction)
      return status
    }
    status = body(transaction, cursor)
    mdb_cursor_close(cursor)
    guard status == 0 else {
      mdb_txn_abort(transaction)
      return status
    }
    return mdb_txn_commit(transaction)
  }
}

/// A status of LMDB on its way out.
struct Failed: Error {
  let status: Int32

  static func check(_ status: Int32) throws(Failed) {
    if status != 0 { throw Failed(status: status) }
  }
}

/// Writes records through a cursor of a write transaction.
struct RecordWriter {
  private let cursor: OpaquePointer?
  /// Revisions above this one go to the end of the database without a search.
  private var last: ChangeRevision?
  private var knowsLast = false

  init(_ cursor: OpaquePointer?) {
    self.cursor = cursor
  }

  @inline(__always)
  mutating func write(_ revision: ChangeRevision, _ value: RevisionValue) throws(Failed) {
    if !knowsLast { try findLast() }
    let isNew = last.map { $0 < revision } ?? true
    var data = MDB_val(mv_size: value.bytes.count + 1, mv_data: nil)
    let flags = UInt32(MDB_RESERVE) | (isNew ? UInt32(MDB_APPEND) : 0)
    let status = RevisionKey(revision).withValue { mdb_cursor_put(cursor, &$0, &data, flags) }
    guard status == 0, let target = data.mv_data else { throw Failed(status: status) }
    target.storeBytes(of: value.tombstone ? 1 : 0, as: UInt8.self)
    if let source = value.bytes.baseAddress {
      (target + 1).copyMemory(from: source, byteCount: value.bytes.count)
    }
    if isNew { last = revision }
  }

  private mutating func findLast() throws(Failed) {
    var key = MDB_val()
    var data = MDB_val()
    let status = mdb_cursor_get(cursor, &key, &data, MDB_LAST)
    if status != MDB_NOTFOUND { try Failed.check(status) }
    last = status == 0 ? RevisionKey.revision(of: key) : nil
    knowsLast = true
  }

  mutating func remove(
    _ revision: ChangeRevision,
    _ transaction: OpaquePointer?,
    _ database: MDB_dbi
  ) throws(Failed) {
    let status = RevisionKey(revision).withValue { mdb_del(transaction, database, &$0, nil) }
    if status != MDB_NOTFOUND { try Failed.check(status) }
  }

  func write(
    metadata key: String,
    _ value: [UInt8]?,
    _ transaction: OpaquePointer?,
    _ database: MDB_dbi
  ) throws(Failed) {
    guard let value else {
      let status = withDatabaseValue(RevisionKey.metadataKey(key)) {
        mdb_del(transaction, database, &$0, nil)
      }
      if status != MDB_NOTFOUND { try Failed.check(status) }
      return
    }
    try Failed.check(
      withDatabaseValue(RevisionKey.metadataKey(key)) { key in
        withDatabaseValue(value) { value in mdb_put(transaction, database, &key, &value, 0) }
      }
    )
  }
}

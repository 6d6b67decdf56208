import Base
import CLMDB
import Glibc
import Synchronization

/// A read transaction of LMDB that is kept and renewed, since that is much cheaper than a new one.
///
/// Its reader calls it on one thread at a time. `retire` alone comes from another thread, when the
/// environment has been replaced; `state` decides who may touch the transaction.
final class LMDBReadSlot: @unchecked Sendable {
  // Safe to share: whoever moved `state` away from `idle` owns the fields.
  private static let idle = 0
  private static let active = 1
  /// Active, and to be dropped rather than kept when it ends.
  private static let activeRetired = 2
  /// `retire` is at work.
  private static let seized = 3

  private let state = Atomic<Int>(LMDBReadSlot.idle)
  private unowned let storage: LMDBStorage
  private var environment: LMDBEnvironment?
  private var generation: UInt64 = 0
  private var transaction: OpaquePointer?
  private var cursor: OpaquePointer?
  private var cursorIsStale = true

  init(_ storage: LMDBStorage) {
    self.storage = storage
  }

  deinit {
    drop()
  }

  /// Whether a read is under way. Any thread.
  var isActive: Bool {
    let state = state.load(ordering: .relaxed)
    return state == Self.active || state == Self.activeRetired
  }

  func begin() throws(StorageError) {
    claim()
    do throws(StorageError) {
      if transaction != nil, generation == storage.generation.load(ordering: .acquiring) {
        if mdb_txn_renew(transaction) == 0 {
          cursorIsStale = true
          return
        }
      }
      drop()
      try attach()
    } catch {
      state.store(Self.idle, ordering: .releasing)
      throw error
    }
  }

  func end() {
    mdb_txn_reset(transaction)
    let (exchanged, _) = state.compareExchange(
      expected: Self.active,
      desired: Self.idle,
      ordering: .acquiringAndReleasing
    )
    if !exchanged {
      drop()
      state.store(Self.idle, ordering: .releasing)
    }
  }

  /// Frees the transaction, at once when the slot is idle or else when it ends. Any thread.
  func retire() {
    while true {
      let (seized, found) = state.compareExchange(
        expected: Self.idle,
        desired: Self.seized,
        ordering: .acquiringAndReleasing
      )
      if seized {
        drop()
        state.store(Self.idle, ordering: .releasing)
        return
      }
      if found == Self.activeRetired { return }
      let (marked, _) = state.compareExchange(
        expected: Self.active,
        desired: Self.activeRetired,
        ordering: .acquiringAndReleasing
      )
      if marked { return }
    }
  }

  private func claim() {
    while true {
      let (claimed, found) = state.compareExchange(
        expected: Self.idle,
        desired: Self.active,
        ordering: .acquiringAndReleasing
      )
      if claimed { return }
      precondition(found == Self.seized, "begin twice")
      sched_yield()
    }
  }

  private func attach() throws(StorageError) {
    let (environment, generation) = try storage.use()
    var begun: OpaquePointer?
    let status = mdb_txn_begin(environment.handle, nil, UInt32(MDB_RDONLY), &begun)
    guard status == 0 else {
      environment.uses.subtract(1, ordering: .releasing)
      throw StorageError(lmdb: status, during: "reading", path: storage.path)
    }
    self.environment = environment
    self.generation = generation
    transaction = begun
    cursorIsStale = true
  }

  private func drop() {
    if let cursor { mdb_cursor_close(cursor) }
    cursor = nil
    if let transaction { mdb_txn_abort(transaction) }
    transaction = nil
    if let environment {
      self.environment = nil
      environment.uses.subtract(1, ordering: .releasing)
    }
  }

  /// A cursor on the current snapshot.
  @inline(__always)
  private func freshCursor() throws(StorageError) -> OpaquePointer {
    if let cursor {
      if cursorIsStale {
        mdb_cursor_renew(transaction, cursor)
        cursorIsStale = false
      }
      return cursor
    }
    guard let environment else { preconditionFailure("a read outside begin and end") }
    var opened: OpaquePointer?
    let status = mdb_cursor_open(transaction, environment.database, &opened)
    guard status == 0, let opened else {
      throw StorageError(lmdb: status, during: "reading", path: storage.path)
    }
    cursor = opened
    cursorIsStale = false
    return opened
  }

  func value(of revision: ChangeRevision) throws(StorageError) -> RevisionValue? {
    let cursor = try freshCursor()
    var data = MDB_val()
    let status = RevisionKey(revision).withValue { mdb_cursor_get(cursor, &$0, &data, MDB_SET_KEY) }
    if status == MDB_NOTFOUND { return nil }
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "reading", path: storage.path)
    }
    guard let value = RevisionKey.value(of: data) else {
      throw .corrupt(path: storage.path, reason: "revision \(revision) has no value")
    }
    return value
  }

  func metadata(_ key: String) throws(StorageError) -> [UInt8]? {
    let cursor = try freshCursor()
    var data = MDB_val()
    let status = withDatabaseValue(RevisionKey.metadataKey(key)) {
      mdb_cursor_get(cursor, &$0, &data, MDB_SET_KEY)
    }
    if status == MDB_NOTFOUND { return nil }
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "reading", path: storage.path)
    }
    return [UInt8](UnsafeRawBufferPointer(start: data.mv_data, count: data.mv_size))
  }

  func forEachMetadata(
    prefix: String,
    _ visit: MetadataVisitor
  ) throws(StorageError) {
    let cursor = try freshCursor()
    let first = RevisionKey.metadataKey(prefix)
    var key = MDB_val()
    var data = MDB_val()
    var status = withDatabaseValue(first) { from in
      let status = mdb_cursor_get(cursor, &from, &data, MDB_SET_RANGE)
      key = from
      return status
    }
    while status == 0 {
      let bytes = UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size)
      guard bytes.starts(with: first), let name = RevisionKey.metadataName(of: bytes) else {
        return
      }
      visit(name, UnsafeRawBufferPointer(start: data.mv_data, count: data.mv_size))
      status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
    }
    guard status == MDB_NOTFOUND else {
      throw StorageError(lmdb: status, during: "reading", path: storage.path)
    }
  }

  /// Answers false when the visitor stopped. What a long scan makes resident it drops again.
  func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) -> Bool {
    let cursor = try freshCursor()
    var data = MDB_val()
    var key = MDB_val()
    var status = RevisionKey(first).withValue { from in
      let status = mdb_cursor_get(cursor, &from, &data, MDB_SET_RANGE)
      key = from
      return status
    }
    var resident = 0
    defer { if resident > 0 { environment?.dropResidentPages() } }
    while status == 0 {
      guard let revision = RevisionKey.revision(of: key), let value = RevisionKey.value(of: data)
      else { throw .corrupt(path: storage.path, reason: "a record has a strange form") }
      guard revision <= last else { return true }
      guard visit(revision, value.tombstone, value.bytes) else { return false }
      resident += value.bytes.count
      if resident > LMDBStorage.scanResidentBytesMax {
        environment?.dropResidentPages()
        resident = 1
      }
      status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
    }
    guard status == MDB_NOTFOUND else {
      throw StorageError(lmdb: status, during: "reading", path: storage.path)
    }
    return true
  }
}

/// The reader over an `LMDBReadSlot`.
final class LMDBReader: RevisionReader {
  private let storage: LMDBStorage
  let slot: LMDBReadSlot

  init(_ storage: LMDBStorage, _ slot: LMDBReadSlot) {
    self.storage = storage
    self.slot = slot
  }

  deinit {
    slot.retire()
    storage.remove(slot)
  }

  override func begin() throws(StorageError) {
    try slot.begin()
  }

  override func end() {
    slot.end()
  }

  override func value(of revision: ChangeRevision) throws(StorageError) -> RevisionValue? {
    try slot.value(of: revision)
  }

  override func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) -> Bool {
    try slot.scan(from: first, through: last, visit)
  }
}

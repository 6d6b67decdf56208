import Base
import CLMDB
import Glibc
import Synchronization

extension LMDBStorage {
  package func copyCompacted(to path: String) throws(StorageError) {
    try maintenance.withLock { _ throws(StorageError) in
      try writeCopy(to: path)
      try FileOperation.syncDirectory(of: path)
    }
  }

  /// Rewrites the file without its holes while readers and commits go on.
  ///
  /// All records are appended to a new file beside the old one, in rounds: the first copies what is
  /// there, each other one what was committed during the one before. Only for the last megabyte and
  /// the deletions made meanwhile commits wait. (LMDB's own compact copy keeps half-empty pages as
  /// they are.) Then the new file is renamed over the old one. Whenever the process ends, the path
  /// leads to the old file or to the complete new one; a leftover is removed when the store is
  /// opened. Readers move over at their next `begin`. Runs on the caller's thread and takes as long
  /// as copying does; excludes copies and installs (R7, R12), and gives up when an install waits.
  package func defragment(isCancelled: () -> Bool) throws(StorageError) {
    try maintenance.withLock { _ throws(StorageError) in
      try replacing.withLock { _ throws(StorageError) in
        try rewrite(isCancelled: { isCancelled() || waitingInstalls.load(ordering: .relaxed) > 0 })
      }
    }
  }

  private func rewrite(isCancelled: () -> Bool) throws(StorageError) {
    let copyPath = Self.copyPath(of: path)
    unlink(copyPath)
    writing.withLock { $0.deletedSinceCopy = [] }
    defer { writing.withLock { $0.deletedSinceCopy = nil } }
    var replaced = false
    defer { if !replaced { unlink(copyPath) } }
    let copy = try LMDBEnvironment(
      path: copyPath,
      mapBytes: max(options.mapBytes, 2 * bytesOnDisk),
      readersMax: options.readersMax
    )
    for round in 0..<Self.catchUpRoundsMax {
      let source = try use().0
      defer { source.uses.subtract(1, ordering: .releasing) }
      let bytes = try catchUp(copy, with: source, isCancelled: isCancelled)
      if round == 0 { options.atStep?(.copied) }
      if bytes < Self.catchUpBytesMax { break }
    }
    options.atStep?(.caughtUp)
    try writing.withLock { writing throws(StorageError) in
      guard let source = writing.environment else {
        throw StorageError(lmdb: MDB_PANIC, during: "defragmenting", path: path)
      }
      _ = try catchUp(copy, with: source)
      try finish(copy, with: source, deleted: writing.deletedSinceCopy ?? [])
      options.atStep?(.synced)
      try replace(&writing, with: copy, at: copyPath)
      replaced = true
      try syncName(&writing)
    }
    options.atStep?(.swapped)
    writing.withLock { closeRetired(&$0) }
  }

  /// Checks every page of a copy that came from elsewhere, before anything opens it. Throws
  /// `notAStore` or `corrupt`.
  package static func check(copyAt path: String) throws(StorageError) {
    guard try !LMDBHeader.check(path: path) else {
      throw .notAStore(path: path, reason: "no such file, or an empty one")
    }
    try LMDBStructure.check(path: path)
  }

  package func prepareInstall(from newPath: String) throws(StorageError) {
    let environment = try openCopy(newPath)
    prepared.withLock { $0 = PreparedCopy(path: newPath, environment: environment) }
  }

  package func abandonInstall() {
    prepared.withLock { $0 = nil }
  }

  /// Opens a checked copy and makes its content durable.
  private func openCopy(_ newPath: String) throws(StorageError) -> LMDBEnvironment {
    let environment = try LMDBEnvironment(
      path: newPath,
      mapBytes: options.mapBytes,
      readersMax: options.readersMax
    )
    let status = mdb_env_sync(environment.handle, 1)
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "syncing \(newPath)", path: newPath)
    }
    return environment
  }

  package func install(from newPath: String) throws(StorageError) {
    waitingInstalls.add(1, ordering: .relaxed)
    defer { waitingInstalls.subtract(1, ordering: .relaxed) }
    try replacing.withLock { _ throws(StorageError) in
      let environment: LMDBEnvironment
      if let opened = takePrepared(newPath) {
        environment = opened
      } else {
        try Self.check(copyAt: newPath)
        environment = try openCopy(newPath)
      }
      options.atStep?(.synced)
      try writing.withLock { writing throws(StorageError) in
        try replace(&writing, with: environment, at: newPath)
      }
    }
  }

  package func syncInstall() throws(StorageError) {
    try writing.withLock { writing throws(StorageError) in try syncName(&writing) }
    options.atStep?(.swapped)
    writing.withLock { closeRetired(&$0) }
  }

  private func takePrepared(_ path: String) -> LMDBEnvironment? {
    prepared.withLock { prepared in
      defer { prepared = nil }
      return prepared?.path == path ? prepared?.environment : nil
    }
  }

  /// Renames a file, open as `environment`, over the store's and goes on with it.
  private func replace(
    _ writing: inout Writing,
    with environment: LMDBEnvironment,
    at newPath: String
  ) throws(StorageError) {
    guard rename(newPath, path) == 0 else {
      throw StorageError(errno: errno, during: "renaming \(newPath)")
    }
    writing.nameIsUnsynced = true
    options.atStep?(.renamed)
    if let old = writing.environment { writing.retired.append(old) }
    writing.environment = environment
    writing.mapBytes = environment.mapBytes
    current.withLock { current in
      current = .open(environment)
      generation.add(1, ordering: .releasing)
    }
    retireReaders()
    publishSizes(environment)
  }

  /// Writes a compact copy of the committed state to a new file and syncs it.
  private func writeCopy(to path: String) throws(StorageError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw StorageError(errno: errno, during: "making \(path)") }
    var complete = false
    defer {
      Glibc.close(descriptor)
      if !complete { unlink(path) }
    }
    let (environment, _) = try use()
    defer { environment.uses.subtract(1, ordering: .releasing) }
    environment.advise(Int32(MADV_SEQUENTIAL))
    let status = mdb_env_copyfd2(environment.handle, descriptor, UInt32(MDB_CP_COMPACT))
    environment.advise(Int32(MADV_RANDOM))
    environment.dropResidentPages()
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "copying to \(path)", path: self.path)
    }
    guard fsync(descriptor) == 0 else {
      throw StorageError(errno: errno, during: "syncing \(path)")
    }
    complete = true
  }

  /// Adds to `copy` the revisions that `source` has above its last one; answers how many bytes.
  private func catchUp(
    _ copy: LMDBEnvironment,
    with source: LMDBEnvironment,
    isCancelled: () -> Bool = { false }
  ) throws(StorageError) -> Int {
    var total = 0
    var batch = Self.catchUpBatchBytesMax
    while batch >= Self.catchUpBatchBytesMax {
      if isCancelled() { throw .cancelled }
      batch = 0
      let status = copyRevisions(copy, source, &batch)
      guard status == 0 else {
        throw StorageError(lmdb: status, during: "catching up a copy", path: path)
      }
      total += batch
      source.dropResidentPages()
    }
    return total
  }

  /// Copies up to `catchUpBatchBytesMax` in one transaction and adds their number to `bytes`.
  private func copyRevisions(
    _ copy: LMDBEnvironment,
    _ source: LMDBEnvironment,
    _ bytes: inout Int
  ) -> Int32 {
    var reading: OpaquePointer?
    let begun = mdb_txn_begin(source.handle, nil, UInt32(MDB_RDONLY), &reading)
    guard begun == 0 else { return begun }
    defer { mdb_txn_abort(reading) }
    var from: OpaquePointer?
    let opened = mdb_cursor_open(reading, source.database, &from)
    guard opened == 0 else { return opened }
    defer { mdb_cursor_close(from) }
    return copy.inTransaction { _, into in
      var key = MDB_val()
      var data = MDB_val()
      let found = mdb_cursor_get(into, &key, &data, MDB_LAST)
      guard found == 0 else { return found }
      let last = RevisionKey.revision(of: key)
      var status = RevisionKey(last ?? .first).withValue { start in
        let status = mdb_cursor_get(from, &start, &data, MDB_SET_RANGE)
        key = start
        return status
      }
      if status == 0, let last, RevisionKey.revision(of: key) == last {
        status = mdb_cursor_get(from, &key, &data, MDB_NEXT)
      }
      while status == 0, bytes < Self.catchUpBatchBytesMax {
        let written = mdb_cursor_put(into, &key, &data, UInt32(MDB_APPEND))
        guard written == 0 else { return written }
        bytes += data.mv_size + key.mv_size
        status = mdb_cursor_get(from, &key, &data, MDB_NEXT)
      }
      return status == MDB_NOTFOUND ? 0 : status
    }
  }

  /// Gives `copy` the metadata of `source` and the deletions since it was made; commits are stopped.
  private func finish(
    _ copy: LMDBEnvironment,
    with source: LMDBEnvironment,
    deleted: [ChangeRevision]
  ) throws(StorageError) {
    var reading: OpaquePointer?
    var status = mdb_txn_begin(source.handle, nil, UInt32(MDB_RDONLY), &reading)
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "finishing a copy", path: path)
    }
    defer { mdb_txn_abort(reading) }
    status = copy.inTransaction { transaction, cursor in
      do throws(Failed) {
        var writer = RecordWriter(cursor)
        for revision in deleted { try writer.remove(revision, transaction, copy.database) }
        var from: OpaquePointer?
        try Failed.check(mdb_cursor_open(reading, source.database, &from))
        defer { mdb_cursor_close(from) }
        var key = MDB_val()
        var data = MDB_val()
        var status = mdb_cursor_get(from, &key, &data, MDB_FIRST)
        while status == 0, RevisionKey.revision(of: key) == nil {
          try Failed.check(mdb_put(transaction, copy.database, &key, &data, 0))
          status = mdb_cursor_get(from, &key, &data, MDB_NEXT)
        }
        return status == MDB_NOTFOUND ? 0 : status
      } catch {
        return error.status
      }
    }
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "finishing a copy", path: path)
    }
  }
}

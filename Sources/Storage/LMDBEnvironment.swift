import CLMDB
import Glibc
import Synchronization

/// One open LMDB environment.
///
/// It counts who uses it, so that `LMDBStorage` can close it when the last one is done. LMDB's own
/// lock file is unlinked right after opening: `LMDBStorage` lets one process in, and a rename of
/// the data file must not leave two environments on one lock file.
final class LMDBEnvironment: @unchecked Sendable {
  // Safe to share: LMDB environments are thread-safe, the rest does not change.
  let handle: OpaquePointer
  let database: MDB_dbi
  let mapBytes: Int
  /// Read transactions and copies that exist.
  let uses = Atomic<Int>(0)
  /// Where the file is mapped.
  private let mapStart: UnsafeMutableRawPointer
  private let pageBytes: Int

  /// Opens or makes the environment at `path`; one that is read-only must be there. Without
  /// `syncsCommits` a crash may leave anything.
  init(
    path: String,
    mapBytes: Int,
    readersMax: Int,
    isReadOnly: Bool = false,
    syncsCommits: Bool = true
  ) throws(StorageError) {
    let isNew = try LMDBHeader.check(path: path)
    if isReadOnly {
      guard !isNew else { throw .notAStore(path: path, reason: "no such file, or an empty one") }
    } else {
      try Self.allocateLockFile(at: path + "-lock", readersMax: readersMax)
    }
    defer { if !isReadOnly { unlink(path + "-lock") } }
    let opened = try Self.open(
      path: path,
      mapBytes: mapBytes,
      readersMax: readersMax,
      moreFlags: (isReadOnly ? MDB_RDONLY | MDB_NOLOCK : 0) | (syncsCommits ? 0 : MDB_NOSYNC)
    )
    do throws(StorageError) {
      database = try Self.openDatabase(opened.handle, path: path, isReadOnly: isReadOnly)
      (mapStart, pageBytes) = try Self.locateMap(opened.handle, database, path: path)
      if isNew { try FileOperation.syncDirectory(of: path) }
    } catch {
      mdb_env_close(opened.handle)
      throw error
    }
    handle = opened.handle
    self.mapBytes = opened.mapBytes
  }

  deinit {
    mdb_env_close(handle)
  }

  /// Makes LMDB's lock file with all its blocks: LMDB maps it sparse, and where the disk is full
  /// writing to it would end the process with SIGBUS.
  private static func allocateLockFile(at path: String, readersMax: Int) throws(StorageError) {
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw StorageError(errno: errno, during: "making \(path)") }
    defer { close(descriptor) }
    let readerBytes = 64
    let headerBytes = 4096
    let status = posix_fallocate(descriptor, 0, headerBytes + readersMax * readerBytes)
    guard status == 0 else {
      unlink(path)
      throw StorageError(errno: status, during: "making \(path)")
    }
  }

  private static func open(
    path: String,
    mapBytes: Int,
    readersMax: Int,
    moreFlags: Int32
  ) throws(StorageError) -> (handle: OpaquePointer, mapBytes: Int) {
    var mapBytes = max(mapBytes, FileOperation.size(of: path) * 2, 16 << 20)
    while true {
      var created: OpaquePointer?
      let made = mdb_env_create(&created)
      guard made == 0, let handle = created else {
        throw StorageError(lmdb: made, during: "creating an environment", path: path)
      }
      mdb_env_set_mapsize(handle, mapBytes)
      mdb_env_set_maxreaders(handle, UInt32(readersMax))
      let flags = UInt32(MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | moreFlags)
      let status = mdb_env_open(handle, path, flags, 0o600)
      if status == 0 { return (handle, mapBytes) }
      mdb_env_close(handle)
      // A limit on the address space: a smaller map does until the file has grown.
      guard status == ENOMEM, mapBytes / 2 > max(FileOperation.size(of: path), 16 << 20) else {
        throw StorageError(lmdb: status, during: "opening the store", path: path)
      }
      mapBytes /= 2
    }
  }

  private static func openDatabase(
    _ handle: OpaquePointer,
    path: String,
    isReadOnly: Bool
  ) throws(StorageError) -> MDB_dbi {
    var transaction: OpaquePointer?
    var status = mdb_txn_begin(handle, nil, isReadOnly ? UInt32(MDB_RDONLY) : 0, &transaction)
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "opening the store", path: path)
    }
    var database: MDB_dbi = 0
    status = mdb_dbi_open(transaction, nil, 0, &database)
    guard status == 0 else {
      mdb_txn_abort(transaction)
      throw StorageError(lmdb: status, during: "opening the store", path: path)
    }
    do throws(StorageError) {
      try checkFormat(transaction, database, path: path)
    } catch {
      mdb_txn_abort(transaction)
      throw error
    }
    status = mdb_txn_commit(transaction)
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "opening the store", path: path)
    }
    return database
  }

  /// Refuses formats that this version does not know; stamps a new file.
  private static func checkFormat(
    _ transaction: OpaquePointer?,
    _ database: MDB_dbi,
    path: String
  ) throws(StorageError) {
    var statistics = MDB_stat()
    mdb_stat(transaction, database, &statistics)
    var data = MDB_val()
    var status = withDatabaseValue(RevisionKey.formatKey) {
      mdb_get(transaction, database, &$0, &data)
    }
    if status == MDB_NOTFOUND, statistics.ms_entries == 0 {
      var version = RevisionKey.formatVersion.littleEndian
      status = withUnsafeMutableBytes(of: &version) { bytes in
        data = MDB_val(mv_size: bytes.count, mv_data: bytes.baseAddress)
        return withDatabaseValue(RevisionKey.formatKey) {
          mdb_put(transaction, database, &$0, &data, 0)
        }
      }
      guard status == 0 else {
        throw StorageError(lmdb: status, during: "making the store", path: path)
      }
      return
    }
    guard status != MDB_NOTFOUND else {
      throw .notAStore(path: path, reason: "an LMDB file of something else")
    }
    guard status == 0, data.mv_size == 4, let start = data.mv_data else {
      throw .corrupt(path: path, reason: "the format version cannot be read")
    }
    let found = UInt32(littleEndian: start.loadUnaligned(as: UInt32.self))
    guard found <= RevisionKey.formatVersion else {
      throw .formatNewer(path: path, found: found, supported: RevisionKey.formatVersion)
    }
  }

  /// Finds where LMDB mapped the file, which it does not tell: a page's header has its number, and
  /// the format version lies on a page whose start is known from its address.
  private static func locateMap(
    _ handle: OpaquePointer,
    _ database: MDB_dbi,
    path: String
  ) throws(StorageError) -> (UnsafeMutableRawPointer, Int) {
    var transaction: OpaquePointer?
    let status = mdb_txn_begin(handle, nil, UInt32(MDB_RDONLY), &transaction)
    guard status == 0 else {
      throw StorageError(lmdb: status, during: "opening the store", path: path)
    }
    defer { mdb_txn_abort(transaction) }
    var statistics = MDB_stat()
    mdb_stat(transaction, database, &statistics)
    let pageBytes = Int(statistics.ms_psize)
    var data = MDB_val()
    let found = withDatabaseValue(RevisionKey.formatKey) {
      mdb_get(transaction, database, &$0, &data)
    }
    guard found == 0, let value = data.mv_data else {
      throw .corrupt(path: path, reason: "the format version cannot be read")
    }
    // Maps start at a page of the system, which is as large as LMDB's page or divides it.
    let page = UnsafeMutableRawPointer(bitPattern: UInt(bitPattern: value) & ~UInt(pageBytes - 1))
    guard let page, pageBytes <= sysconf(Int32(_SC_PAGESIZE)) else {
      throw .corrupt(path: path, reason: "made with pages of \(pageBytes) bytes")
    }
    return (page - Int(page.load(as: UInt64.self)) * pageBytes, pageBytes)
  }
}

extension LMDBEnvironment {
  /// Bytes of the file up to the last page in use.
  var extentBytes: Int {
    var info = MDB_envinfo()
    mdb_env_info(handle, &info)
    return min((info.me_last_pgno + 1) * pageBytes, mapBytes)
  }

  /// Tells the kernel how the mapped file is about to be read (`MADV_…`).
  func advise(_ advice: Int32) {
    madvise(mapStart, extentBytes, advice)
  }

  /// Unmaps what is resident; it stays in the page cache, and reading it faults it in again.
  func dropResidentPages() {
    advise(Int32(MADV_DONTNEED))
  }

  /// Of the file.
  var descriptor: Int32 {
    var descriptor: Int32 = -1
    mdb_env_get_fd(handle, &descriptor)
    return descriptor
  }

  /// File size, and the bytes of pages that hold data.
  func sizes() -> (onDisk: Int, inUse: Int) {
    var status = stat()
    let onDisk = fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
    var statistics = MDB_stat()
    mdb_env_stat(handle, &statistics)
    return (onDisk, max(0, min(bytes(of: statistics), onDisk)))
  }

  /// The bytes of the pages that hold the data of which `statistics` tell.
  func bytes(of statistics: MDB_stat) -> Int {
    let metaPages = 2
    // The counts come from a header that nobody has checked: they must not trap.
    let pages =
      metaPages &+ statistics.ms_branch_pages &+ statistics.ms_leaf_pages
      &+ statistics.ms_overflow_pages
    return pages &* pageBytes
  }
}

extension StorageError {
  /// What a status of LMDB means.
  init(lmdb status: Int32, during operation: String, path: String) {
    let reason = String(cString: mdb_strerror(status))
    switch status {
    case ENOSPC, EDQUOT, EFBIG:
      self = .diskFull(during: operation)
    case MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_CURSOR_FULL, MDB_INCOMPATIBLE:
      self = .corrupt(path: path, reason: reason)
    case MDB_INVALID, MDB_VERSION_MISMATCH:
      self = .notAStore(path: path, reason: reason)
    case MDB_READERS_FULL:
      self = .readersExhausted
    default:
      self = .io(during: operation, code: status, reason: reason)
    }
  }

  /// What errno says.
  init(errno code: Int32, during operation: String) {
    switch code {
    case ENOSPC, EDQUOT, EFBIG: self = .diskFull(during: operation)
    default:
      self = .io(during: operation, code: code, reason: String(cString: strerror(code)))
    }
  }
}

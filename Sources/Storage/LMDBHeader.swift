import Glibc

/// The checks that LMDB leaves out before it maps a file: a truncated file would end the process
/// with SIGBUS at the first read, a damaged meta page in stranger ways.
enum LMDBHeader {
  // LMDB's file format: two meta pages. Each starts with a page header of 16 bytes, then: magic
  // (4 bytes), version (4), address (8), map size (8), two database records of 48 bytes whose first
  // one begins with the page size (4), last page number (8), transaction (8).
  private static let magic: UInt32 = 0xBEEF_C0DE
  private static let version: UInt32 = 1
  private static let magicOffset = 16
  private static let versionOffset = 20
  private static let databasesOffset = 40
  private static let databaseBytes = 48
  private static let lastPageOffset = databasesOffset + 2 * databaseBytes
  private static let transactionOffset = lastPageOffset + 8
  private static let metaBytes = transactionOffset + 8
  private static let depthMax: UInt16 = 32

  private struct Meta {
    let pageBytes: Int
    let lastPage: UInt64
    let transaction: UInt64
  }

  /// Answers true when there is no file or an empty one, false when it looks sound.
  static func check(path: String) throws(StorageError) -> Bool {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return true }
      throw StorageError(errno: errno, during: "opening \(path)")
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw StorageError(errno: errno, during: "opening \(path)")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw .notAStore(path: path, reason: "not a regular file")
    }
    let size = Int(status.st_size)
    if size == 0 { return true }
    let first = try meta(descriptor, at: 0, size: size, path: path)
    let second = try meta(descriptor, at: first.pageBytes, size: size, path: path)
    guard first.pageBytes == second.pageBytes else {
      throw .corrupt(path: path, reason: "its two headers disagree")
    }
    let newest = first.transaction > second.transaction ? first : second
    if (newest.lastPage + 1) * UInt64(newest.pageBytes) > UInt64(size) {
      // LMDB does not write free pages, so a sound file can end early too.
      try LMDBStructure.check(path: path)
    }
    return false
  }

  private static func meta(
    _ descriptor: Int32,
    at offset: Int,
    size: Int,
    path: String
  ) throws(StorageError) -> Meta {
    var bytes = [UInt8](repeating: 0, count: metaBytes)
    let got = pread(descriptor, &bytes, metaBytes, offset)
    guard got == metaBytes else {
      throw .notAStore(path: path, reason: "too short: \(size) bytes")
    }
    return try bytes.withUnsafeBytes { parse($0, path: path) }.get()
  }

  private static func parse(
    _ bytes: UnsafeRawBufferPointer,
    path: String
  ) -> Result<Meta, StorageError> {
    guard bytes.loadUnaligned(fromByteOffset: magicOffset, as: UInt32.self) == magic else {
      return .failure(.notAStore(path: path, reason: "no LMDB file"))
    }
    let version = bytes.loadUnaligned(fromByteOffset: versionOffset, as: UInt32.self)
    guard version == Self.version else {
      return .failure(.notAStore(path: path, reason: "LMDB format \(version)"))
    }
    let pageBytes = Int(bytes.loadUnaligned(fromByteOffset: databasesOffset, as: UInt32.self))
    guard (512...65536).contains(pageBytes), pageBytes & (pageBytes - 1) == 0 else {
      return .failure(.corrupt(path: path, reason: "its header tells of \(pageBytes)-byte pages"))
    }
    let lastPage = bytes.loadUnaligned(fromByteOffset: lastPageOffset, as: UInt64.self)
    guard lastPage < UInt64(Int.max) / 65536 else {
      return .failure(.corrupt(path: path, reason: "its header tells of \(lastPage) pages"))
    }
    for database in 0..<2 {
      let start = databasesOffset + database * databaseBytes
      let depth = bytes.loadUnaligned(fromByteOffset: start + 6, as: UInt16.self)
      let root = bytes.loadUnaligned(fromByteOffset: start + 40, as: UInt64.self)
      guard depth <= depthMax, root <= lastPage || root == .max else {
        return .failure(.corrupt(path: path, reason: "its header tells of a root page \(root)"))
      }
    }
    return .success(
      Meta(
        pageBytes: pageBytes,
        lastPage: lastPage,
        transaction: bytes.loadUnaligned(fromByteOffset: transactionOffset, as: UInt64.self)
      )
    )
  }
}

/// The file operations that LMDB does not do for us.
enum FileOperation {
  static func size(of path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : 0
  }

  /// Makes a new, renamed or removed name in the path's directory durable.
  static func syncDirectory(of path: String) throws(StorageError) {
    let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw StorageError(errno: errno, during: "opening \(directory)")
    }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else {
      throw StorageError(errno: errno, during: "syncing \(directory)")
    }
  }

  /// Takes the right to open the store at `path`, until the descriptor is closed.
  static func lockOwner(of path: String) throws(StorageError) -> Int32 {
    let ownerPath = path + ".owner"
    let descriptor = open(ownerPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw StorageError(errno: errno, during: "opening \(ownerPath)")
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      close(descriptor)
      throw code == EWOULDBLOCK
        ? .inUse(path: path) : StorageError(errno: code, during: "locking \(ownerPath)")
    }
    return descriptor
  }
}

package import BoltFile
import Crypto
import Glibc

/// A file with a whole store in it: a snapshot, or a database file copied from a data directory.
package struct SnapshotSource: Sendable {
  package enum Kind: Sendable {
    /// A bbolt file, as etcd's snapshots are.
    case etcd
    /// An LMDB file, as Martlet's are.
    case martlet
  }

  package let path: String
  package let kind: Kind
  /// The length of the database in the file, in bytes.
  package let contentBytes: Int
  /// The SHA-256 behind the database that snapshots have.
  let digest: [UInt8]?

  private static let digestBytes = SHA256.byteCount
  /// Databases are multiples of this, so what is beyond one can only be the digest.
  private static let sectorBytes = 512
  private static let readBytes = 1 << 20
  // Both kinds have their mark at this offset of their first two pages.
  private static let markOffset = 16
  private static let etcdMark: UInt32 = 0xED0C_DAED
  private static let martletMark: UInt32 = 0xBEEF_C0DE

  /// Looks at the file's length and beginning.
  package init(path: String) throws(MigrationError) {
    self.path = path
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .failed(operation: "opening \(path)", code: errno) }
    defer { close(descriptor) }
    let directory = opendir(path)
    if let directory {
      closedir(directory)
      throw .file(path: path, reason: "is a directory, not a snapshot file\(Self.hint(for: path))")
    }
    let length = Int(lseek(descriptor, 0, SEEK_END))
    guard length >= 0 else { throw .failed(operation: "reading \(path)", code: errno) }
    guard length > 0 else { throw .file(path: path, reason: "the file is empty") }
    guard let kind = Self.kind(descriptor) else {
      throw .file(path: path, reason: "neither a snapshot of etcd nor one of Martlet")
    }
    self.kind = kind
    let hasDigest = length % Self.sectorBytes == Self.digestBytes
    contentBytes = hasDigest ? length - Self.digestBytes : length
    var digest = [UInt8](repeating: 0, count: hasDigest ? Self.digestBytes : 0)
    let count = pread(descriptor, &digest, digest.count, off_t(contentBytes))
    guard count == digest.count else { throw .failed(operation: "reading \(path)", code: errno) }
    self.digest = hasDigest ? digest : nil
  }

  /// The way on when somebody names the data directory of an etcd.
  private static func hint(for directory: String) -> String {
    let database = "\(directory)/member/snap/db"
    guard SystemFiles.exists(database) else { return "" }
    return "; of an etcd that is stopped, \(database) is taken with --skip-hash-check"
  }

  private static func kind(_ descriptor: Int32) -> Kind? {
    // The first page may be damaged; the sizes of pages are powers of two.
    for page in [0, 4096, 1024, 2048, 8192, 16384, 32768, 65536] {
      var mark: UInt32 = 0
      guard pread(descriptor, &mark, 4, off_t(page + markOffset)) == 4 else { continue }
      switch UInt32(littleEndian: mark) {
      case etcdMark: return .etcd
      case martletMark: return .martlet
      default: continue
      }
    }
    return nil
  }

  /// Throws `otherKind` when the file is not of the wanted kind, and says what takes it.
  package func require(_ wanted: Kind) throws(MigrationError) {
    guard kind != wanted else { return }
    switch kind {
    case .etcd:
      throw .otherKind(
        path: path,
        hint: "is a snapshot of etcd: `martletutl migrate import --snapshot \(path)` takes it"
      )
    case .martlet:
      throw .otherKind(
        path: path,
        hint: "is a snapshot of Martlet: `martletutl snapshot restore \(path)` takes it"
      )
    }
  }

  /// Calls `body` with all of the database, piece by piece. Throws what `body` throws.
  func forEachPiece(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw MigrationError.failed(operation: "opening \(path)", code: errno)
    }
    defer { close(descriptor) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.readBytes, alignment: 16)
    defer { buffer.deallocate() }
    var offset = 0
    while offset < contentBytes {
      let wanted = min(Self.readBytes, contentBytes - offset)
      let count = pread(descriptor, buffer.baseAddress, wanted, off_t(offset))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw MigrationError.failed(operation: "reading \(path)", code: count < 0 ? errno : EIO)
      }
      try body(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
      offset += count
    }
  }

  /// Throws unless there is a digest and it is the content's. Without a check nothing is read.
  func verify(skips: Bool, _ report: @escaping ProgressReport) throws {
    try verify(skips: skips, phase: "verifying", report, nil)
  }

  /// The same, with all of the content handed to `body` on the way.
  func verify(
    skips: Bool,
    phase: String,
    _ report: @escaping ProgressReport,
    _ body: ((UnsafeRawBufferPointer) throws -> Void)?
  ) throws {
    if digest == nil, !skips {
      throw MigrationError.file(
        path: path,
        reason:
          "snapshot missing hash but --skip-hash-check=false (a snapshot ends with a SHA-256; "
          + "the file was cut short, or it is a copy from a data directory)"
      )
    }
    if skips, body == nil { return }
    let progress = try ProgressPhase(phase, totalBytes: contentBytes, report)
    var hasher = SHA256()
    var done = 0
    try forEachPiece { bytes in
      if !skips { hasher.update(bufferPointer: bytes) }
      try body?(bytes)
      done += bytes.count
      try progress.note(done)
    }
    try progress.end()
    guard let digest, !skips else { return }
    let found = [UInt8](hasher.finalize())
    guard found == digest else {
      throw MigrationError.file(
        path: path,
        reason: "expected sha256 \(hexadecimal(digest)), got \(hexadecimal(found)): the file is "
          + "damaged"
      )
    }
  }

  /// The file as a bbolt database; it must be of that kind.
  package func openBolt() throws(MigrationError) -> BoltFile {
    do throws(BoltError) {
      return try BoltFile(path: path, sizeBytes: contentBytes)
    } catch {
      throw .file(path: path, reason: error.description)
    }
  }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { byte in
    let digits = String(byte, radix: 16)
    return byte < 16 ? "0\(digits)" : digits
  }.joined()
}

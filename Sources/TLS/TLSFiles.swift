import Glibc

/// What tells whether a file is still the one that was read: none when there is no such file.
struct FileStamp: Hashable, Sendable {
  private var device: UInt64 = 0
  private var inode: UInt64 = 0
  private var sizeBytes: Int64 = 0
  private var modified: [Int] = []
  private var changed: [Int] = []

  /// Looks at the file; follows symbolic links. An empty path is a file that never changes.
  init(_ path: String) {
    var info = stat()
    guard !path.isEmpty, stat(path, &info) == 0 else { return }
    device = UInt64(info.st_dev)
    inode = UInt64(info.st_ino)
    sizeBytes = Int64(info.st_size)
    modified = [info.st_mtim.tv_sec, info.st_mtim.tv_nsec]
    changed = [info.st_ctim.tv_sec, info.st_ctim.tv_nsec]
  }
}

/// Reading and writing of the small files that TLS needs.
enum TLSFiles {
  /// The largest file of certificates or with a key: 8 MiB.
  static let certificateBytesMax = 8 << 20
  /// The largest revocation list: 64 MiB.
  static let revocationBytesMax = 64 << 20

  private static let chunkBytes = 64 << 10

  /// The whole content. Throws `unreadable`, also for a file that is too long.
  static func content(of path: String, bytesMax: Int) throws(TLSError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .unreadable(file: path, reason: reason(errno)) }
    defer { close(descriptor) }
    var info = stat()
    guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
      throw .unreadable(file: path, reason: "not a file")
    }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: chunkBytes)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .unreadable(file: path, reason: reason(errno)) }
      if count == 0 { return bytes }
      guard bytes.count + count <= bytesMax else {
        throw .unreadable(file: path, reason: "more than \(bytesMax) bytes")
      }
      bytes += chunk[..<count]
    }
  }

  /// Puts a file in place as a whole. Throws `cannotWrite`.
  static func replace(_ path: String, with text: String, mode: mode_t) throws(TLSError) {
    let temporary = "\(path).tmp"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw .cannotWrite(file: temporary, reason: reason(errno)) }
    let code = writeAndSync([UInt8](text.utf8), descriptor)
    close(descriptor)
    guard code == 0 else { throw .cannotWrite(file: temporary, reason: reason(code)) }
    guard rename(temporary, path) == 0 else {
      throw .cannotWrite(file: path, reason: reason(errno))
    }
  }

  /// Returns 0 or the errno of what failed.
  private static func writeAndSync(_ bytes: [UInt8], _ descriptor: Int32) -> Int32 {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return errno }
      rest = rest.dropFirst(count)
    }
    return fsync(descriptor) == 0 ? 0 : errno
  }

  /// Makes a directory and those above it that are missing. Throws `cannotWrite`.
  static func makeDirectories(_ path: String) throws(TLSError) {
    var made = path.hasPrefix("/") ? "" : "."
    for name in path.split(separator: "/") {
      made += "/\(name)"
      guard mkdir(made, 0o700) == 0 || errno == EEXIST else {
        throw .cannotWrite(file: made, reason: reason(errno))
      }
    }
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}

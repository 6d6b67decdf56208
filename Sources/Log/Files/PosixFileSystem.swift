import Base
import Glibc

/// The operating system's files. Every call goes straight to one system call, retried on EINTR.
package struct PosixFileSystem: FileSystem {
  /// An open file descriptor, closed by `close`.
  package struct File: Sendable {
    let descriptor: Int32
    let path: String
  }

  private static let fileMode: mode_t = 0o600
  private static let directoryMode: mode_t = 0o700

  /// Whether writes are waited for. Without, what was acknowledged is lost when the machine stops.
  private let isDurable: Bool

  package init(isDurable: Bool = true) {
    self.isDurable = isDurable
  }

  package func createDirectory(_ path: String) throws(FileError) {
    if mkdir(path, Self.directoryMode) == 0 {
      try syncDirectory(parent(of: path))
      return
    }
    if errno == EEXIST { return }
    guard errno == ENOENT, !path.isEmpty else { throw failure(.createDirectory, path) }
    try createDirectory(parent(of: path))
    guard mkdir(path, Self.directoryMode) == 0 || errno == EEXIST else {
      throw failure(.createDirectory, path)
    }
    try syncDirectory(parent(of: path))
  }

  package func list(_ directory: String) throws(FileError) -> [String] {
    guard let stream = opendir(directory) else { throw failure(.list, directory) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
        String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  package func open(_ path: String, _ mode: FileMode) throws(FileError) -> File {
    let flags: Int32
    switch mode {
    case .read: flags = O_RDONLY
    case .readWrite: flags = O_RDWR
    case .create: flags = O_RDWR | O_CREAT | O_TRUNC
    }
    let descriptor = retried { Glibc.open(path, flags | O_CLOEXEC, Self.fileMode) }
    guard descriptor >= 0 else { throw failure(.open, path) }
    return File(descriptor: descriptor, path: path)
  }

  package func close(_ file: File) {
    // Nothing was left to be written at close: what matters was synced, or its sync has failed.
    _ = Glibc.close(file.descriptor)
  }

  package func size(_ file: File) throws(FileError) -> Int {
    var status = stat()
    guard fstat(file.descriptor, &status) == 0 else { throw failure(.size, file.path) }
    return Int(status.st_size)
  }

  package func read(
    _ file: File,
    into target: UnsafeMutableRawBufferPointer,
    at offset: Int
  ) throws(FileError) -> Int {
    var done = 0
    while done < target.count, let base = target.baseAddress {
      let count = retried {
        pread(file.descriptor, base + done, target.count - done, off_t(offset + done))
      }
      guard count >= 0 else { throw failure(.read, file.path) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  package func write(
    _ file: File,
    _ bytes: UnsafeRawBufferPointer,
    at offset: Int
  ) throws(FileError) {
    var done = 0
    while done < bytes.count, let base = bytes.baseAddress {
      let count = retried {
        pwrite(file.descriptor, base + done, bytes.count - done, off_t(offset + done))
      }
      guard count > 0 else { throw failure(.write, file.path) }
      done += count
    }
  }

  package func preallocate(_ file: File, bytes: Int) throws(FileError) {
    // Unlike fallocate(2), this also works on file systems that cannot allocate ahead.
    var code: Int32
    repeat {
      code = posix_fallocate(file.descriptor, 0, off_t(bytes))
    } while code == EINTR
    guard code == 0 else {
      throw FileError(operation: .preallocate, path: file.path, code: code)
    }
  }

  package func syncData(_ file: File) throws(FileError) {
    guard isDurable else { return }
    guard retried({ fdatasync(file.descriptor) }) == 0 else { throw failure(.syncData, file.path) }
  }

  package func syncDirectory(_ path: String) throws(FileError) {
    let descriptor = retried { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw failure(.syncDirectory, path) }
    defer { _ = Glibc.close(descriptor) }
    guard retried({ fsync(descriptor) }) == 0 else { throw failure(.syncDirectory, path) }
  }

  package func rename(_ source: String, to target: String) throws(FileError) {
    guard Glibc.rename(source, target) == 0 else { throw failure(.rename, source) }
  }

  package func remove(_ path: String) throws(FileError) {
    guard unlink(path) == 0 else { throw failure(.remove, path) }
  }

  package func lock(_ path: String) throws(FileError) -> File {
    let descriptor = retried {
      Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, Self.fileMode)
    }
    guard descriptor >= 0 else { throw failure(.lock, path) }
    guard retried({ flock(descriptor, LOCK_EX | LOCK_NB) }) == 0 else {
      let error = failure(.lock, path)
      _ = Glibc.close(descriptor)
      throw error
    }
    return File(descriptor: descriptor, path: path)
  }

  package func salt() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
  }

  private func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  private func failure(_ operation: FileOperation, _ path: String) -> FileError {
    FileError(operation: operation, path: path, code: errno)
  }

  private func retried<Count: SignedInteger>(_ call: () -> Count) -> Count {
    while true {
      let result = call()
      if result >= 0 || errno != EINTR { return result }
    }
  }
}

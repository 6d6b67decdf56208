import Glibc

/// A file that is there only when it is whole: written beside, synced, renamed.
final class PartFile {
  private let path: String
  private var part: String { path + ".part" }
  private var descriptor: Int32

  /// Throws `Failure` when the file cannot be made.
  init(_ path: String) throws {
    self.path = path
    descriptor = open(path + ".part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      let part = path + ".part"
      let reason = SystemError.text(errno)
      throw Failure(.interrupted, "could not open \(part) (open \(part): \(reason))")
    }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  func write(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR {
        throw failure("write")
      }
    }
  }

  /// Makes it durable under its name.
  func finish() throws {
    guard fsync(descriptor) == 0 else { throw failure("fsync") }
    close(descriptor)
    descriptor = -1
    guard rename(part, path) == 0 else {
      let reason = SystemError.text(errno)
      throw Failure(.interrupted, "could not rename \(part) to \(path) (\(reason))")
    }
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }
    fsync(directory)
    close(directory)
  }

  func discard() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    unlink(part)
  }

  private func failure(_ what: String) -> Failure {
    Failure(.interrupted, "\(what) \(part): \(SystemError.text(errno))")
  }
}

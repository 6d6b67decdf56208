import Glibc
import Synchronization

/// An exclusive flock on a file: the kernel lets go of it when the process ends, however it ends.
final class DirectoryLock: Sendable {
  private let descriptor: Mutex<Int32?>

  /// Takes the lock without waiting. Throws `.inUse` when somebody has it, in this process or
  /// another.
  init(file: String, directory: String) throws(DataDirectoryError) {
    let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .failed(file: file, errno) }
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      if code == EINTR { continue }
      Glibc.close(descriptor)
      if code == EWOULDBLOCK { throw .inUse(directory, lockFile: file) }
      throw .failed(file: file, code)
    }
    self.descriptor = Mutex(descriptor)
  }

  deinit {
    release()
  }

  /// Lets go of the lock; harmless when done twice.
  func release() {
    descriptor.withLock { descriptor in
      if let open = descriptor { Glibc.close(open) }
      descriptor = nil
    }
  }
}

import Glibc

/// A named operating-system thread that runs one body to its end.
///
/// The replica, the log writer and the housekeeper each own one: they block on disks and
/// mailboxes, which neither an event loop nor the cooperative pool may do.
final class WorkerThread: @unchecked Sendable {
  private let handle: pthread_t

  private final class Start {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a thread. `name` shows in `top -H` and perf; the kernel keeps its first 15 bytes.
  init(name: String, _ body: @escaping @Sendable () -> Void) {
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    var handle = pthread_t()
    let result = pthread_create(
      &handle,
      nil,
      { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        WorkerThread.setName(start.name)
        start.body()
        return nil
      },
      start.toOpaque()
    )
    precondition(result == 0, "pthread_create failed with errno \(result)")
    self.handle = handle
  }

  /// Waits for the body to return. Call once.
  func join() {
    pthread_join(handle, nil)
  }

  /// Names the calling thread. Only for people who look, so a failure does not matter.
  private static func setName(_ name: String) {
    let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    var name = String(name.prefix(15))
    name.withUTF8 { _ = write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
  }
}

import Dispatch
import Glibc
import Synchronization

/// Commands that `watch` and `lock` run.
enum ChildProcess {
  /// The running child that a signal is handed on to; 0 none.
  static let running = Atomic<Int32>(0)

  /// Runs a command with this process's input and output, and waits for it. Returns its exit status;
  /// 128 and the signal's number when a signal ended it. Throws when it cannot be started.
  static func run(_ words: [String], environment: [String]) async throws -> Int32 {
    let child = try start(words, environment)
    running.store(child, ordering: .relaxed)
    defer { running.store(0, ordering: .relaxed) }
    return await Blocking.run {
      var status: Int32 = 0
      while waitpid(child, &status, 0) < 0, errno == EINTR {}
      let signal = status & 0x7f
      return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }
  }

  private static func start(_ words: [String], _ environment: [String]) throws -> pid_t {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // What this process does with signals is not the child's business.
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGPIPE] { sigaddset(&signals, signal) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
    var inherited: [UnsafeMutablePointer<CChar>?] = []
    var index = 0
    while let entry = environ[index] {
      inherited.append(strdup(entry))
      index += 1
    }
    var variables = environment.map { RawText.copy($0) } + inherited + [nil]
    var arguments = words.map { RawText.copy($0) } + [nil]
    defer { for entry in variables + arguments { free(entry) } }
    var child: pid_t = 0
    let result = posix_spawnp(&child, words[0], nil, &attributes, &arguments, &variables)
    guard result == 0 else {
      let name = GoText.quoted(words[0])
      let reason =
        result == ENOENT && !words[0].contains("/")
        ? "executable file not found in $PATH" : SystemError.text(result)
      throw Failure(.error, "exec: \(name): \(reason)")
    }
    return child
  }
}

/// Work that keeps a thread waiting, done where no task waits for the thread.
enum Blocking {
  static func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async { continuation.resume(returning: work()) }
    }
  }
}

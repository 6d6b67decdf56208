import Dispatch
import Glibc
import Synchronization

/// Commands that `watch` and `lock` run.
enum ChildProcess {
  /// The running child that a signal is handed on to; 0 none.
  static let running = Atomic<Int32>(0)

  /// How a command ended.
  struct End: Sendable {
    /// What it exited with; 128 and the signal's number when a signal ended it.
    let status: Int32
    /// Go's words for what is not success; nil when it is.
    let failure: String?

    init(waitStatus: Int32) {
      let signal = waitStatus & 0x7f
      let code = waitStatus >> 8 & 0xff
      status = signal == 0 ? code : 128 + signal
      if signal != 0 {
        failure = "signal: \(SystemError.lowercased(String(cString: strsignal(signal))))"
      } else {
        failure = code == 0 ? nil : "exit status \(code)"
      }
    }
  }

  /// Runs a command with this process's input and output, and waits for it. Throws when it cannot be
  /// started.
  static func run(_ words: [String], environment: [String]) async throws -> End {
    let child = try start(words, environment)
    running.store(child, ordering: .relaxed)
    defer { running.store(0, ordering: .relaxed) }
    return await Blocking.run {
      var status: Int32 = 0
      while waitpid(child, &status, 0) < 0, errno == EINTR {}
      return End(waitStatus: status)
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
    // Threads of Dispatch, such as this one, block all signals; a child would inherit that.
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
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
      guard !words[0].contains("/") else {
        throw Failure(.error, "fork/exec \(words[0]): \(SystemError.text(result))")
      }
      let reason =
        result == ENOENT ? "executable file not found in $PATH" : SystemError.text(result)
      throw Failure(.error, "exec: \(GoText.quoted(words[0])): \(reason)")
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

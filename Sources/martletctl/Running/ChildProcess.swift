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

/// SIGINT and SIGTERM as something to wait for.
final class Interruption: Sendable {
  private struct State {
    var hasCome = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }

  private let state = Mutex(State())
  private nonisolated(unsafe) var sources: [any DispatchSourceSignal] = []

  /// From now on these signals no longer end the process; a child gets SIGTERM too.
  init() {
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [weak self] in
        let child = ChildProcess.running.load(ordering: .relaxed)
        if number == SIGTERM, child > 0 { kill(child, SIGTERM) }
        self?.come()
      }
      source.resume()
      sources.append(source)
    }
  }

  var hasCome: Bool { state.withLock { $0.hasCome } }

  private func come() {
    let waiters = state.withLock { state in
      state.hasCome = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Returns when a signal has come, or the task is cancelled.
  func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if !state.hasCome, !Task.isCancelled { state.waiters.append(continuation) }
          return state.hasCome || Task.isCancelled
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      let waiters = state.withLock { state in
        defer { state.waiters = [] }
        return state.waiters
      }
      for waiter in waiters { waiter.resume() }
    }
  }

  /// Runs `body`, which is cancelled when a signal comes.
  func cancelling<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value
  ) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        await self.wait()
        return nil
      }
      defer { group.cancelAll() }
      while let ended = try await group.next() {
        if let value = ended { return value }
        // A command that runs ends by itself.
        if ChildProcess.running.load(ordering: .relaxed) == 0 { group.cancelAll() }
      }
      throw Failure(.error, "context canceled")
    }
  }
}

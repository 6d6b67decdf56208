import Dispatch
import Glibc
import Synchronization

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

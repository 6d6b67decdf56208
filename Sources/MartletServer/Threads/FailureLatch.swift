import Synchronization

/// Remembers the first reason why the member cannot go on, and wakes whoever waits for one.
final class FailureLatch: Sendable {
  private struct State {
    var reason: String?
    var waiters: [UInt64: CheckedContinuation<String?, Never>] = [:]
    var nextWaiter: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Why the member cannot go on, once it cannot.
  var reason: String? { state.withLock { $0.reason } }

  func fail(_ reason: String) {
    let waiters = state.withLock { state -> [CheckedContinuation<String?, Never>] in
      guard state.reason == nil else { return [] }
      state.reason = reason
      defer { state.waiters.removeAll() }
      return Array(state.waiters.values)
    }
    for waiter in waiters { waiter.resume(returning: reason) }
  }

  /// Suspends until there is a reason; returns nil when the task is cancelled first.
  func wait() async -> String? {
    let number = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let early: String?? = state.withLock { state in
          if let reason = state.reason { return .some(reason) }
          if Task.isCancelled { return .some(nil) }
          state.waiters[number] = continuation
          return nil
        }
        if let early { continuation.resume(returning: early) }
      }
    } onCancel: {
      let waiter = state.withLock { $0.waiters.removeValue(forKey: number) }
      waiter?.resume(returning: nil)
    }
  }
}

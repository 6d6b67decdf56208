import Synchronization

/// The pauses of work that goes on in the background, all of which end when the client is closed.
final class Pauses: Sendable {
  private struct State {
    var isOver = false
    var number = 0
    var tasks: [Int: Task<Void, Never>] = [:]
  }

  private let state = Mutex(State())

  /// Waits. False when the client has been closed, or the task is cancelled.
  func pause(for duration: Duration) async -> Bool {
    let pause = state.withLock { state -> (number: Int, task: Task<Void, Never>)? in
      guard !state.isOver else { return nil }
      state.number += 1
      let task = Task { _ = try? await Task.sleep(for: duration) }
      state.tasks[state.number] = task
      return (state.number, task)
    }
    guard let pause else { return false }
    await withTaskCancellationHandler {
      await pause.task.value
    } onCancel: {
      pause.task.cancel()
    }
    let isOver = state.withLock { state in
      state.tasks[pause.number] = nil
      return state.isOver
    }
    return !isOver && !Task.isCancelled
  }

  /// Ends all pauses, now and from now on.
  func end() {
    let tasks = state.withLock { state in
      state.isOver = true
      defer { state.tasks = [:] }
      return Array(state.tasks.values)
    }
    for task in tasks { task.cancel() }
  }
}

import Synchronization

/// What happened, in order; a test can wait for an event without guessing how long it takes.
final class EventLog: Sendable {
  private struct State {
    var events: [String] = []
    var waiters: [(event: String, count: Int, continuation: CheckedContinuation<Void, Never>)] = []
  }

  private let state = Mutex(State())

  func add(_ event: String) {
    let due = state.withLock { state in
      state.events.append(event)
      let count = state.events.count { $0 == event }
      let due = state.waiters.filter { $0.event == event && $0.count <= count }
      state.waiters.removeAll { $0.event == event && $0.count <= count }
      return due
    }
    for waiter in due { waiter.continuation.resume() }
  }

  /// Returns when the event has happened that many times.
  func wait(for event: String, count: Int = 1) async {
    await withCheckedContinuation { continuation in
      let isDue = state.withLock { state in
        if state.events.count(where: { $0 == event }) >= count { return true }
        state.waiters.append((event, count, continuation))
        return false
      }
      if isDue { continuation.resume() }
    }
  }

  var events: [String] { state.withLock { $0.events } }
}

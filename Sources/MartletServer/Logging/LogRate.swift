import Synchronization

/// Keeps a kind of log line from becoming the server's main work: a burst, then so many a second. Any
/// thread may use it.
final class LogRate: Sendable {
  private struct State {
    var tokens: Double
    var last: MonotonicTime
    var leftOut = 0
  }

  private let burst: Double
  private let perSecond: Double
  private let state: Mutex<State>

  init(burst: Int, perSecond: Int, now: MonotonicTime = .now) {
    self.burst = Double(burst)
    self.perSecond = Double(perSecond)
    state = Mutex(State(tokens: Double(burst), last: now))
  }

  /// Whether a line may be written now: how many were left out since the last one, or nil when this one
  /// has to be left out, too.
  func admit(now: MonotonicTime = .now) -> Int? {
    state.withLock { state in
      let seconds = Double(now.nanoseconds(since: state.last)) / 1e9
      state.last = max(state.last, now)
      state.tokens = min(burst, state.tokens + seconds * perSecond)
      guard state.tokens >= 1 else {
        state.leftOut += 1
        return nil
      }
      state.tokens -= 1
      defer { state.leftOut = 0 }
      return state.leftOut
    }
  }
}

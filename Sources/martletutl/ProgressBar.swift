import Glibc
import Migration
import Synchronization

/// A bar on the terminal for long work; nothing where standard error is none.
enum ProgressBar {
  private struct State {
    var isShown = false
    var lastNanoseconds: Int64 = 0
    var phase = ""
  }

  private static let state = Mutex(State())
  private static let width = 30
  private static let pauseNanoseconds: Int64 = 100_000_000
  private static let isTerminal = isatty(STDERR_FILENO) == 1

  /// Shows how far the work is, a few times a second. Throws `Interrupted` when it is to end.
  static func show(_ step: ProgressStep) throws {
    try Interruption.check()
    guard isTerminal, step.totalBytes > 0 else { return }
    let now = nanoseconds()
    state.withLock { state in
      let isDone = step.doneBytes >= step.totalBytes
      let isDue = now - state.lastNanoseconds >= pauseNanoseconds || state.phase != step.phase
      guard isDue || (isDone && state.isShown) else { return }
      state.lastNanoseconds = now
      state.phase = step.phase
      state.isShown = true
      let share = Double(step.doneBytes) / Double(step.totalBytes)
      let filled = Int(share * Double(width))
      let bar =
        String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
      let sizes = "\(ByteCount.text(step.doneBytes)) of \(ByteCount.text(step.totalBytes))"
      StandardError.write("\r\u{1B}[K\(step.phase) [\(bar)] \(Int(share * 100)) %  \(sizes)")
    }
  }

  /// Takes the bar off the terminal.
  static func clear() {
    state.withLock { state in
      if state.isShown { StandardError.write("\r\u{1B}[K") }
      state = State()
    }
  }

  private static func nanoseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }
}

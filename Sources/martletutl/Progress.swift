import Migration
import Synchronization
import Terminal

/// How far long work is: bars on the terminal, one for each phase.
enum Progress {
  private struct State {
    var phase = ""
    var bar: ProgressBar?
  }

  private static let state = Mutex(State())

  /// What takes the reports of work whose answer is printed in `format`: no bars beside JSON. It throws
  /// `Interrupted` when the work is to end.
  static func report(beside format: OutputFormat) -> ProgressReport {
    { step in
      try Interruption.check()
      show(step, isWanted: format != .json)
    }
  }

  private static func show(_ step: ProgressStep, isWanted: Bool) {
    guard step.totalBytes > 0 else { return }
    state.withLock { state in
      let isDone = step.doneBytes >= step.totalBytes
      if state.phase != step.phase {
        state.bar?.finish()
        state.bar = nil
      } else if state.bar == nil, isDone {
        return  // Its end was told already.
      }
      state.phase = step.phase
      let bar = state.bar ?? ProgressBar(step.phase, in: .bytes, isWanted: isWanted)
      bar.show(UInt64(step.doneBytes), of: UInt64(step.totalBytes))
      if isDone { bar.finish() }
      state.bar = isDone ? nil : bar
    }
  }

  /// No more comes of the phase: what is written next begins a line of its own.
  static func abandon() {
    state.withLock { state in
      state.bar?.abandon()
      state = State()
    }
  }
}

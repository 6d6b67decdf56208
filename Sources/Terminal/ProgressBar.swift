import Glibc
import Synchronization

/// A line on the standard error that says how far long work has come, for people only: nothing is
/// written where the standard error is no terminal that can draw over a line.
///
/// The bar never goes back. It stays when the work is done, and whatever is written next begins a line
/// of its own.
package final class ProgressBar: Sendable {
  package enum Unit: Sendable {
    case bytes, items
  }

  private struct State {
    var done: UInt64 = 0
    var total: UInt64 = 0
    /// The largest so far, from 0 to 1.
    var share = 0.0
    /// nil before anything is drawn, and when the bar has ended.
    var lastDrawn: ContinuousClock.Instant?
  }

  private let title: String
  private let unit: Unit
  private let isShown: Bool
  private let start = ContinuousClock().now
  private let state = Mutex(State())

  private static let width = 24
  private static let interval = Duration.milliseconds(100)
  private static let startOfLine = "\r\u{1B}[K"

  /// `isWanted` false: there is a terminal, but the user has asked for what programs read.
  package init(_ title: String, in unit: Unit, isWanted: Bool = true) {
    self.title = title
    self.unit = unit
    isShown = isWanted && Self.canDraw
  }

  private static var canDraw: Bool {
    isatty(STDERR_FILENO) == 1 && getenv("TERM").map { String(cString: $0) } != "dumb"
  }

  /// Says that `done` of `total` is done; drawn at once and then ten times a second at most. A total
  /// that changes is taken as it comes; 0 while it is not known.
  package func show(_ done: UInt64, of total: UInt64) {
    guard isShown else { return }
    state.withLock { state in
      state.done = done
      state.total = total
      if total > 0 { state.share = max(state.share, min(1, Double(done) / Double(total))) }
      let now = ContinuousClock().now
      if let last = state.lastDrawn, last.duration(to: now) < Self.interval { return }
      state.lastDrawn = now
      draw(state, start.duration(to: now))
    }
  }

  /// The work is done: the bar is full.
  package func finish() {
    end { state in
      state.share = 1
      state.done = max(state.done, state.total)
      state.total = state.done
      draw(state, .zero)
    }
  }

  /// The work has failed: the bar stays as it is.
  package func abandon() { end { _ in } }

  private func end(_ body: (inout State) -> Void) {
    state.withLock { state in
      guard state.lastDrawn != nil else { return }
      body(&state)
      state.lastDrawn = nil
      StandardError.write("\n")
    }
  }

  private func draw(_ state: State, _ elapsed: Duration) {
    StandardError.write(
      Self.startOfLine
        + Self.line(title, unit, state.done, of: state.total, share: state.share, elapsed)
    )
  }

  /// `saving [======            ] 25 %  12 kB of 48 kB, 3 s left`
  package static func line(
    _ title: String,
    _ unit: Unit,
    _ done: UInt64,
    of total: UInt64,
    share: Double,
    _ elapsed: Duration
  ) -> String {
    let filled = Int(share * Double(width))
    let bar = String(repeating: "=", count: filled) + String(repeating: " ", count: width - filled)
    func text(_ count: UInt64) -> String { unit == .bytes ? ByteCount.text(count) : "\(count)" }
    var line = "\(title) [\(bar)] \(Int(share * 100)) %  \(text(done))"
    guard done < total else { return line }
    line += " of \(text(total))"
    if share > 0 {
      let seconds = elapsed / .seconds(1) * (1 - share) / share
      line += ", \(Int(seconds.rounded(.up))) s left"
    }
    return line
  }
}

extension ProgressBar {
  /// Draws what `done` says, again and again, while `work` runs.
  package static func follow<Value>(
    _ title: String,
    in unit: Unit,
    of total: UInt64,
    isWanted: Bool,
    done: @escaping @Sendable () -> UInt64,
    _ work: () async throws -> Value
  ) async throws -> Value {
    let bar = ProgressBar(title, in: unit, isWanted: isWanted)
    let drawing = Task {
      while !Task.isCancelled {
        bar.show(min(done(), total), of: total)
        try? await Task.sleep(for: interval)
      }
    }
    do {
      let value = try await work()
      drawing.cancel()
      await drawing.value
      bar.finish()
      return value
    } catch {
      drawing.cancel()
      await drawing.value
      bar.abandon()
      throw error
    }
  }
}

import Glibc

/// A line on the terminal that says how far long work has come; nothing where no person looks.
final class ProgressBar {
  private let title: String
  /// What it goes up to; 0 while that is not known.
  var total: UInt64
  private let isShown = Streams.isTerminal(STDERR_FILENO)
  private let start = ContinuousClock().now
  private var last: ContinuousClock.Instant?

  private static let width = 30
  private static let interval = Duration.milliseconds(100)

  init(_ title: String, total: UInt64 = 0) {
    self.title = title
    self.total = total
  }

  /// Says that `done` of `total` is done; at most ten times a second.
  func show(_ done: UInt64) {
    guard isShown else { return }
    let now = ContinuousClock().now
    if let last, last.duration(to: now) < Self.interval { return }
    last = now
    Streams.write(
      Array(("\r\u{1b}[K" + line(done, start.duration(to: now))).utf8),
      to: STDERR_FILENO
    )
  }

  /// The line for `done` after `elapsed`.
  func line(_ done: UInt64, _ elapsed: Duration) -> String {
    let part = total == 0 ? 0 : min(1, Double(done) / Double(total))
    let filled = Int(part * Double(Self.width))
    let bar =
      String(repeating: "=", count: filled) + String(repeating: " ", count: Self.width - filled)
    var text = "\(title) [\(bar)] \(Int(part * 100)) %"
    if part > 0, part < 1 {
      let left = Double(elapsed.components.seconds) * (1 - part) / part
      text += ", \(Int(left.rounded(.up))) s left"
    }
    return text
  }

  /// Takes the line away.
  func clear() {
    if isShown, last != nil { Streams.write(Array("\r\u{1b}[K".utf8), to: STDERR_FILENO) }
    last = nil
  }
}

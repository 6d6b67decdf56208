import Glibc
import Synchronization

/// How many calls have ended, over all event loops.
final class ProgressCounter: Sendable {
  private let count = Atomic<Int>(0)

  func add(_ amount: Int) {
    count.wrappingAdd(amount, ordering: .relaxed)
  }

  var value: Int { count.load(ordering: .relaxed) }
}

/// A bar on the terminal that shows how far a load is. Draws nothing when standard error is none.
struct ProgressBar: Sendable {
  let total: Int
  let counter: ProgressCounter

  private static let widthColumns = 40
  private static let drawMilliseconds = 200

  /// Draws until cancelled.
  func run() async {
    guard isatty(STDERR_FILENO) == 1 else { return }
    while !Task.isCancelled {
      draw()
      try? await Task.sleep(for: .milliseconds(Self.drawMilliseconds))
    }
    draw()
    write("\n")
  }

  private func draw() {
    let done = min(counter.value, total)
    let filled = done * Self.widthColumns / total
    let bar =
      String(repeating: "#", count: filled)
      + String(repeating: "-", count: Self.widthColumns - filled)
    write("\r[\(bar)] \(done * 100 / total) % \(done) of \(total)")
  }

  private func write(_ text: String) {
    var text = text
    text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}

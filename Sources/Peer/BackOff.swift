import NIOCore

/// Waits between attempts to connect: doubling, each drawn from the upper half.
struct BackOff {
  private let delayMin: Int64
  private let delayMax: Int64
  private var delay: Int64

  init(min: TimeAmount, max: TimeAmount) {
    delayMin = Swift.max(1, min.nanoseconds)
    delayMax = Swift.max(delayMin, max.nanoseconds)
    delay = delayMin
  }

  /// The next wait.
  mutating func next() -> TimeAmount {
    defer { delay = Swift.min(delay * 2, delayMax) }
    return .nanoseconds(Int64.random(in: (delay / 2)...delay))
  }

  mutating func reset() {
    delay = delayMin
  }
}

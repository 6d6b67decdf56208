import CoreMetrics
import Synchronization

/// A number that only grows. Any thread may add.
package final class CounterCell: CounterHandler {
  private let total = Atomic<Int64>(0)

  package init() {}

  /// Negative amounts are left out: a counter never falls.
  package func increment(by amount: Int64) {
    guard amount > 0 else { return }
    total.wrappingAdd(amount, ordering: .relaxed)
  }

  package func reset() {
    total.store(0, ordering: .relaxed)
  }

  package var value: Int64 { total.load(ordering: .relaxed) }
}

/// A fractional number that any thread may change.
struct AtomicDouble: ~Copyable {
  private let bits = Atomic<UInt64>(0)

  var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

  func set(_ value: Double) {
    bits.store(value.bitPattern, ordering: .relaxed)
  }

  func add(_ amount: Double) {
    var old = bits.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + amount).bitPattern
      let (exchanged, original) = bits.weakCompareExchange(
        expected: old,
        desired: new,
        ordering: .relaxed
      )
      if exchanged { return }
      old = original
    }
  }
}

/// A sum that only grows, in fractions. Any thread may add.
package final class SumCell: FloatingPointCounterHandler {
  private let total = AtomicDouble()

  package init() {}

  /// Negative amounts, and those that are no numbers, are left out.
  package func increment(by amount: Double) {
    guard amount > 0, amount.isFinite else { return }
    total.add(amount)
  }

  package func reset() {
    total.set(0)
  }

  package var value: Double { total.value }
}

/// A number that goes up and down. Any thread may change it.
package final class GaugeCell: MeterHandler, RecorderHandler {
  private let current = AtomicDouble()

  package init() {}

  package func set(_ value: Int64) { current.set(Double(value)) }
  package func set(_ value: Double) { current.set(value) }
  package func increment(by amount: Double) { current.add(amount) }
  package func decrement(by amount: Double) { current.add(-amount) }
  package func record(_ value: Int64) { set(value) }
  package func record(_ value: Double) { set(value) }

  package var value: Double { current.value }
}

/// How often values of which size occurred. Any thread may record.
///
/// As a timer it takes nanoseconds and shows seconds.
package final class HistogramCell: RecorderHandler, TimerHandler {
  /// Bounds for durations in seconds, for those who name none: Prometheus' usual ones.
  package static let secondsBounds = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  ]

  package let bounds: [Double]
  /// Values in each bucket alone, the infinite one last. Freed with the cell.
  private nonisolated(unsafe) let counts: UnsafeMutablePointer<Atomic<UInt64>>
  private let sum = AtomicDouble()

  package init(bounds: [Double]) {
    self.bounds = bounds
    counts = .allocate(capacity: bounds.count + 1)
    for place in 0...bounds.count { (counts + place).initialize(to: Atomic(0)) }
  }

  deinit {
    counts.deinitialize(count: bounds.count + 1)
    counts.deallocate()
  }

  /// Notes `count` values that are `value` on average and lie in its bucket. What is no number is
  /// left out.
  package func observe(_ value: Double, count: UInt64 = 1) {
    guard value.isFinite else { return }
    let place = bounds.firstIndex { value <= $0 } ?? bounds.count
    counts[place].wrappingAdd(count, ordering: .relaxed)
    sum.add(value * Double(count))
  }

  package func record(_ value: Int64) { observe(Double(value)) }
  package func record(_ value: Double) { observe(value) }
  package func recordNanoseconds(_ duration: Int64) { observe(Double(duration) / 1e9) }

  package var snapshot: HistogramSnapshot {
    HistogramSnapshot(
      bounds: bounds,
      counts: (0...bounds.count).map { counts[$0].load(ordering: .relaxed) },
      sum: sum.value
    )
  }
}

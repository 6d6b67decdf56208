import Synchronization

/// A counter that any thread may add to and any may read.
final class Counter: Sendable {
  private let total = Atomic<UInt64>(0)

  func add(_ amount: Int = 1) {
    total.wrappingAdd(UInt64(amount), ordering: .relaxed)
  }

  var value: UInt64 { total.load(ordering: .relaxed) }
}

/// A Prometheus histogram of durations: cumulative buckets, a sum and a count.
final class DurationHistogram: Sendable {
  /// Upper bounds in seconds, each twice the former: those of etcd's disk histograms.
  let bounds: [Double]
  private let state: Mutex<(buckets: [UInt64], seconds: Double, count: UInt64)>

  init(firstBound: Double = 0.001, bucketCount: Int = 14) {
    bounds = (0..<bucketCount).map { firstBound * Double(1 << $0) }
    state = Mutex(([UInt64](repeating: 0, count: bucketCount), 0, 0))
  }

  func observe(nanoseconds: UInt64) {
    let seconds = Double(nanoseconds) / 1e9
    state.withLock { state in
      if let place = bounds.firstIndex(where: { seconds <= $0 }) { state.buckets[place] += 1 }
      state.seconds += seconds
      state.count += 1
    }
  }

  /// The buckets' cumulative counts, the sum in seconds and the count.
  var snapshot: (cumulative: [UInt64], seconds: Double, count: UInt64) {
    state.withLock { state in
      var sum: UInt64 = 0
      let cumulative = state.buckets.map { bucket in
        sum += bucket
        return sum
      }
      return (cumulative, state.seconds, state.count)
    }
  }
}

/// What the disk threads did since the start.
final class DiskMetrics: Sendable {
  /// Durations of the log's fdatasync.
  let syncs = DurationHistogram()
  /// Bytes appended to the log.
  let bytesWritten = Counter()
  /// Durations of the store's commits.
  let commits = DurationHistogram()
}

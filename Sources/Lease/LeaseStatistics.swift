/// What happened to leases since the process started.
package struct LeaseStatistics: Sendable, Equatable {
  package internal(set) var granted: UInt64 = 0
  /// Ended leases, expired ones included.
  package internal(set) var revoked: UInt64 = 0
  package internal(set) var renewed: UInt64 = 0
  package internal(set) var expired: UInt64 = 0

  /// Upper bounds of the buckets of `timeToLiveCounts`, in seconds: 1, 2, 4 ... 2^23.
  package static let timeToLiveBounds: [Int64] = (0..<24).map { 1 << $0 }
  /// Granted leases by their time to live, the last count being of those above all bounds. Each
  /// lease is counted in one bucket.
  package internal(set) var timeToLiveCounts = [UInt64](
    repeating: 0,
    count: timeToLiveBounds.count + 1
  )
  /// The sum of the granted times to live, in seconds.
  package internal(set) var timeToLiveSum: Double = 0

  mutating func noteGrant(seconds: Int64) {
    granted += 1
    let bucket = Self.timeToLiveBounds.firstIndex { seconds <= $0 }
    timeToLiveCounts[bucket ?? Self.timeToLiveBounds.count] += 1
    timeToLiveSum += Double(seconds)
  }
}

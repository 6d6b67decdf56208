import Base
import Glibc

extension Duration {
  /// The duration in nanoseconds; 0 when it is negative.
  var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(max(seconds, 0)) * 1_000_000_000 + UInt64(max(attoseconds, 0)) / 1_000_000_000
  }
}

/// A point on the machine's monotonic clock, in nanoseconds since an arbitrary start.
struct MonotonicTime: Comparable, Sendable {
  var nanoseconds: UInt64

  static var now: MonotonicTime {
    MonotonicTime(nanoseconds: SystemTime.monotonicNanoseconds)
  }

  static func < (left: MonotonicTime, right: MonotonicTime) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  func advanced(byNanoseconds count: UInt64) -> MonotonicTime {
    MonotonicTime(nanoseconds: nanoseconds + count)
  }

  /// Nanoseconds since `earlier`; 0 when that lies in the future.
  func nanoseconds(since earlier: MonotonicTime) -> UInt64 {
    nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
  }

  var timespec: Glibc.timespec { SystemTime.timespec(nanoseconds: nanoseconds) }
}

#if canImport(Glibc)
public import Glibc
#endif

/// The system's clocks as plain numbers.
///
/// They are read here because a module that also sees Foundation's C headers cannot be sure which module
/// the members of `timespec` and `tm` belong to.
public enum SystemTime {
  /// The time of day in UTC.
  public struct DateAndTime: Sendable {
    public let year: Int
    public let month: Int
    public let day: Int
    public let hour: Int
    public let minute: Int
    public let second: Int
  }

  /// Nanoseconds of the monotonic clock, since an arbitrary start.
  public static var monotonicNanoseconds: UInt64 { UInt64(read(CLOCK_MONOTONIC)) }

  /// Nanoseconds since 1970 by the wall clock.
  public static var wallNanoseconds: Int64 { read(CLOCK_REALTIME) }

  private static func read(_ clock: clockid_t) -> Int64 {
    var time = Glibc.timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  /// A point on a clock in the form that system calls take.
  public static func timespec(nanoseconds: UInt64) -> Glibc.timespec {
    Glibc.timespec(
      tv_sec: Int(nanoseconds / 1_000_000_000),
      tv_nsec: Int(nanoseconds % 1_000_000_000)
    )
  }

  /// The date and time in UTC of a moment in seconds since 1970.
  public static func utc(secondsSince1970: Int64) -> DateAndTime {
    var seconds = time_t(secondsSince1970)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    return DateAndTime(
      year: Int(parts.tm_year) + 1900,
      month: Int(parts.tm_mon) + 1,
      day: Int(parts.tm_mday),
      hour: Int(parts.tm_hour),
      minute: Int(parts.tm_min),
      second: Int(parts.tm_sec)
    )
  }
}

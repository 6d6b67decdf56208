import Glibc

/// The wall clock, which certificates go by.
enum SystemTime {
  /// Seconds since 1970.
  static func seconds() -> Int { time(nil) }
}

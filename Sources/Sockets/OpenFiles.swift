import Glibc

/// The system's bound on the files that the process may have open; each socket is one.
package enum OpenFiles {
  private static let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)

  /// As many as may be open at a time.
  package static var limit: Int {
    var limit = rlimit()
    guard getrlimit(kind, &limit) == 0 else { return Int(getdtablesize()) }
    return Int(clamping: limit.rlim_cur)
  }

  /// Raises the bound as far as the process may by itself.
  package static func raiseLimit() {
    var limit = rlimit()
    guard getrlimit(kind, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(kind, &limit)
  }
}

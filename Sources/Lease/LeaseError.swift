/// Why a lease was not granted.
package enum LeaseError: Error, Equatable {
  /// The ID is that of another lease.
  case exists
  /// ID 0 names no lease.
  case notFound
  /// More than `LeaseRegistry.secondsMax`.
  case timeToLiveTooLarge
}

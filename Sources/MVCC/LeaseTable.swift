package import Base

/// What the store asks the leases' owner. Called on the apply thread only.
package protocol LeaseTable: AnyObject {
  /// Whether the lease has been granted and not ended since.
  func exists(_ lease: LeaseID) -> Bool

  /// The key, which is on no lease, hangs on `lease` from now on. The bytes are valid during the
  /// call. Without effect for an unknown lease: a restart also reads of leases that ended since.
  func attach(_ key: UnsafeRawBufferPointer, to lease: LeaseID)

  /// The key, which was on a lease, hangs on it no longer. Without effect for a key on none.
  func detach(_ key: UnsafeRawBufferPointer)
}

package import Base

/// What the store asks the leases' owner. Called on the apply thread only.
package protocol LeaseTable: AnyObject {
  /// Whether the lease has been granted and not ended since.
  func exists(_ lease: LeaseID) -> Bool

  /// The key hangs on `lease` from now on. The bytes are valid during the call.
  func attach(_ key: UnsafeRawBufferPointer, to lease: LeaseID)

  /// The key, which was on a lease, hangs on it no longer.
  func detach(_ key: UnsafeRawBufferPointer)
}

import Base
import Lease
import MVCC
import Proto

// What the log says about leases.
extension ReplicaMachine {
  func applyLease(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest,
    header: ResponseHeader
  ) {}
}

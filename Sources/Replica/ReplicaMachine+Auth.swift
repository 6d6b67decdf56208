import Auth
import Base
import MVCC
import Proto

// What the log says about users and roles, and whether they may do what else it says.
extension ReplicaMachine {
  /// Throws when the proposer may not do this, as of this entry.
  func authorize(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest
  ) throws(RequestError) {}

  func applyAuth(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest,
    header: ResponseHeader
  ) {}
}

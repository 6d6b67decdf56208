import Base
import MVCC
import Proto

// What the log says about alarms, and what they forbid.
extension ReplicaMachine {
  /// Throws when an alarm forbids this operation.
  func checkCapacity(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest
  ) throws(RequestError) {}

  func applyAlarm(_ request: InternalRequest, header: ResponseHeader) {}
}

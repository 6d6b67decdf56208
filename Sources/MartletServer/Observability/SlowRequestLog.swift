import Flags
import Logging
import RPC

/// Writes unary requests that took long to the log: which method, for whom, how long and how large.
/// Never what was in them.
final class SlowRequestLog: Sendable {
  /// Lines that may follow each other at once, and then in each second: of an overload, a sample is
  /// enough.
  static let linesBurst = 50
  static let linesPerSecond = 10

  private let logger: Logger
  private let rate = LogRate(burst: linesBurst, perSecond: linesPerSecond)

  init(logger: Logger) {
    self.logger = logger
  }

  func note(_ call: EndedCall) {
    guard let leftOut = rate.admit() else { return }
    var fields: Logger.Metadata = [
      "method": .string(call.method.path),
      "remote": .string(call.peer),
      "code": .string(call.code.name),
      "time spent": .string(GoDuration.text(.nanoseconds(Int64(clamping: call.nanoseconds)))),
      "request size": .stringConvertible(call.requestBytes),
      "response size": .stringConvertible(call.responseBytes),
    ]
    if leftOut > 0 { fields["left out before"] = .stringConvertible(leftOut) }
    logger.warning("slow request", metadata: fields)
  }
}

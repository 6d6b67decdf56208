/// How a call ended: the seventeen codes of gRPC, with their numbers on the wire.
package enum RPCCode: UInt8, Sendable, CaseIterable {
  case ok = 0
  case canceled = 1
  case unknown = 2
  case invalidArgument = 3
  case deadlineExceeded = 4
  case notFound = 5
  case alreadyExists = 6
  case permissionDenied = 7
  case resourceExhausted = 8
  case failedPrecondition = 9
  case aborted = 10
  case outOfRange = 11
  case unimplemented = 12
  case `internal` = 13
  case unavailable = 14
  case dataLoss = 15
  case unauthenticated = 16

  /// The name that gRPC's own tools print, as in the `grpc_code` label of the metrics.
  package var name: String {
    switch self {
    case .ok: "OK"
    case .canceled: "Canceled"
    case .unknown: "Unknown"
    case .invalidArgument: "InvalidArgument"
    case .deadlineExceeded: "DeadlineExceeded"
    case .notFound: "NotFound"
    case .alreadyExists: "AlreadyExists"
    case .permissionDenied: "PermissionDenied"
    case .resourceExhausted: "ResourceExhausted"
    case .failedPrecondition: "FailedPrecondition"
    case .aborted: "Aborted"
    case .outOfRange: "OutOfRange"
    case .unimplemented: "Unimplemented"
    case .internal: "Internal"
    case .unavailable: "Unavailable"
    case .dataLoss: "DataLoss"
    case .unauthenticated: "Unauthenticated"
    }
  }
}

/// The code and text that end a call. Clients of etcd compare both, so the text is part of the
/// wire contract.
package struct RPCStatus: Error, Hashable, Sendable, CustomStringConvertible {
  package let code: RPCCode
  package let message: String

  package init(_ code: RPCCode, _ message: String = "") {
    self.code = code
    self.message = message
  }

  package var description: String { "\(code.name): \(message)" }

  package static let ok = RPCStatus(.ok)
  /// What a call gets whose `grpc-timeout` has run out.
  package static let deadlineExceeded = RPCStatus(.deadlineExceeded, "context deadline exceeded")
  /// What a call gets that its client has taken back.
  package static let canceled = RPCStatus(.canceled, "context canceled")

  package static func unimplemented(_ message: String) -> RPCStatus {
    RPCStatus(.unimplemented, message)
  }

  package static func unavailable(_ message: String) -> RPCStatus {
    RPCStatus(.unavailable, message)
  }

  package static func invalidArgument(_ message: String) -> RPCStatus {
    RPCStatus(.invalidArgument, message)
  }

  package static func notFound(_ message: String) -> RPCStatus {
    RPCStatus(.notFound, message)
  }

  package static func `internal`(_ message: String) -> RPCStatus {
    RPCStatus(.internal, message)
  }

  package static func resourceExhausted(_ message: String) -> RPCStatus {
    RPCStatus(.resourceExhausted, message)
  }

  /// The answer to a request whose bytes are not a message of the method's type.
  package static func malformedRequest(_ cause: some Error) -> RPCStatus {
    RPCStatus(.internal, "grpc: error unmarshalling request: \(cause)")
  }

  /// The answer to a message longer than the receiver takes.
  package static func messageTooLarge(_ length: Int, max: Int) -> RPCStatus {
    RPCStatus(
      .resourceExhausted,
      "grpc: received message larger than max (\(length) vs. \(max))"
    )
  }
}

import MartletClient

extension Failure {
  /// What etcdctl makes of an error of the client.
  init(_ error: ClientError, _ code: ExitCode = .error) {
    let code = error.code == .authenticationFailed ? ExitCode.badConnection : code
    self.init(code, error.goText, detail: error.detail)
  }

  /// Any error that comes out of a command.
  init(any error: any Error) {
    switch error {
    case let failure as Failure: self = failure
    case let error as ClientError: self.init(error)
    default: self.init(.error, "\(error)")
    }
  }
}

extension ClientError {
  /// The words of etcd's Go client for this error.
  var goText: String {
    switch code {
    case .unavailable where grpcStatus == nil || !message.hasPrefix("etcdserver: "),
      .deadlineExceeded:
      "context deadline exceeded"
    case .canceled: "context canceled"
    case .other:
      "rpc error: code = \(Self.statusName(grpcStatus ?? 2)) desc = \(message)"
    default: message
    }
  }

  /// What etcdctl does not say.
  var detail: String? {
    guard code == .unavailable else { return nil }
    return endpoint.map { "\($0): \(message)" } ?? message
  }

  private static let statusNames = [
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound",
    "AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted",
    "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
  ]

  private static func statusName(_ number: Int) -> String {
    statusNames.indices.contains(number) ? statusNames[number] : "Code(\(number))"
  }
}

/// The exit codes of etcdctl.
enum ExitCode: Int32 {
  case success = 0
  case error = 1
  /// No connection, or a user who is not known.
  case badConnection = 2
  /// What was read from the standard input.
  case invalidInput = 3
  /// A flag that exists, with a value that it does not have.
  case badFeature = 4
  case interrupted = 5
  case inputOutput = 6
  case badArguments = 128
}

/// Why a command ends early.
struct Failure: Error {
  /// What the process exits with.
  var status: Int32
  /// What is written behind `Error: `; nil nothing, for what has been said already.
  var message: String?
  /// A second line, for people.
  var detail: String?

  init(_ code: ExitCode, _ message: String?, detail: String? = nil) {
    status = code.rawValue
    self.message = message
    self.detail = detail
  }

  /// Ends with the status of another program.
  init(status: Int32, _ message: String?) {
    self.status = status
    self.message = message
  }

  static func badArguments(_ message: String) -> Failure { Failure(.badArguments, message) }
}

/// Why a tool could not do what it was asked; `description` is meant for the operator.
package enum MigrationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// A file is not what it should be, or damaged.
  case file(path: String, reason: String)
  /// The file is sound, as far as one looked, and wants another command.
  case otherKind(path: String, hint: String)
  /// Flags that contradict each other or themselves.
  case flags(String)
  /// What was to be made is there already.
  case exists(String)
  /// The log of a data directory holds requests that its store does not have yet.
  case unapplied(count: Int, directory: String)
  /// The system refused; `code` is an errno.
  case failed(operation: String, code: Int32)

  package var description: String {
    switch self {
    case .file(let path, let reason): "\(path): \(reason)"
    case .otherKind(let path, let hint): "\(path) \(hint)"
    case .flags(let reason): reason
    case .exists(let reason): reason
    case .unapplied(let count, let directory):
      "the log in \(directory) holds \(count) requests that are not in its store yet, and whether "
        + "they count only the cluster can say: start the member and stop it with SIGTERM, or take "
        + "a snapshot of it while it runs"
    case .failed(let operation, let code): "\(operation) failed: \(errorText(code))"
    }
  }
}

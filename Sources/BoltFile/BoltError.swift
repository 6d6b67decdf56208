import Glibc

/// Why a bbolt file could not be read or written.
package enum BoltError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The system refused; `code` is an errno.
  case failed(operation: String, code: Int32)
  /// The file is no bbolt file, or one that this code does not know.
  case notBolt(reason: String)
  /// The content contradicts itself. `page` is the number of the page where it shows; none when it
  /// concerns the file as a whole.
  case damaged(page: UInt64?, reason: String)
  /// What was to be written cannot be: keys out of order, or a key or value that is too long.
  case unwritable(reason: String)

  package var description: String {
    switch self {
    case .failed(let operation, let code):
      "\(operation) failed: \(String(cString: strerror(code)))"
    case .notBolt(let reason): reason
    case .damaged(let page?, let reason): "damaged at page \(page): \(reason)"
    case .damaged(nil, let reason): "damaged: \(reason)"
    case .unwritable(let reason): reason
    }
  }
}

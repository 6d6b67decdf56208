/// Why the revision store could not do what it was asked.
///
/// None of these leaves half a batch behind: a commit that threw can be tried again.
package enum StorageError: Error, Hashable, Sendable, CustomStringConvertible {
  /// No space (or quota) left where the file lies. Recoverable: try again when there is space.
  case diskFull(during: String)
  /// The system refused an operation; `code` is an errno or a code of LMDB.
  case io(during: String, code: Int32, reason: String)
  /// The file is a store, and its content contradicts itself.
  case corrupt(path: String, reason: String)
  /// The file is something else than a store of Martlet.
  case notAStore(path: String, reason: String)
  /// A newer version of Martlet wrote the file.
  case formatNewer(path: String, found: UInt32, supported: UInt32)
  /// Another process, or another object of this one, has the store open.
  case inUse(path: String)
  /// More readers at once than `LMDBStorage.Options.readersMax`.
  case readersExhausted
  /// The caller wanted no more of it.
  case cancelled

  package var description: String {
    switch self {
    case .diskFull(let operation):
      "storage: no space left on the device (during \(operation))"
    case .io(let operation, let code, let reason):
      "storage: \(operation) failed: \(reason) (\(code))"
    case .corrupt(let path, let reason):
      "storage: \(path) is damaged: \(reason)"
    case .notAStore(let path, let reason):
      "storage: \(path) is not a Martlet store: \(reason)"
    case .formatNewer(let path, let found, let supported):
      "storage: \(path) has format \(found), this version reads up to \(supported)"
    case .inUse(let path):
      "storage: \(path) is open already, perhaps in another process"
    case .readersExhausted:
      "storage: too many readers at once"
    case .cancelled:
      "storage: cancelled"
    }
  }
}

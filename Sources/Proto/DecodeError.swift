public import CProto

/// Why bytes are not a message of the wanted type.
public enum DecodeError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The bytes are not in protobuf's wire format, or a field has another wire type than declared.
  case malformed
  /// A string is not UTF-8.
  case invalidUTF8
  /// More than `messageDepthMax` messages lie within each other.
  case tooDeep
  /// The decoded message would take more memory than its arena may.
  case tooLarge

  public var description: String {
    switch self {
    case .malformed: "proto: cannot parse invalid wire-format data"
    case .invalidUTF8: "proto: field contains invalid UTF-8"
    case .tooDeep: "proto: exceeded maximum recursion depth"
    case .tooLarge: "proto: message takes too much memory"
    }
  }

  /// What the C code calls the failure.
  public init(_ status: martlet_status) {
    switch status {
    case MARTLET_INVALID_UTF8: self = .invalidUTF8
    case MARTLET_TOO_DEEP: self = .tooDeep
    case MARTLET_TOO_LARGE: self = .tooLarge
    default: self = .malformed
    }
  }
}

/// How many messages may lie within each other, the outermost included. Transactions nest two
/// levels each.
package let messageDepthMax = Int(MARTLET_DEPTH_MAX)

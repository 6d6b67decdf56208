import RPC

/// What of an HTTP request's headers the call gets: the token, everything under
/// `Grpc-Metadata-`, and the timeout.
enum GatewayMetadata {
  private static let prefix = "grpc-metadata-"

  /// Throws the status for headers that make no sense.
  static func options(_ request: HTTPRequest) throws(RPCStatus) -> CallOptions {
    var options = CallOptions()
    for (name, value) in request.headers {
      if name == "authorization" {
        guard isText(value) else { continue }
        options.metadata.append((name, value))
      } else if name == "grpc-timeout" {
        guard let nanoseconds = nanoseconds(value) else {
          throw .invalidArgument("invalid grpc-timeout: \(value)")
        }
        options.setTimeout(nanoseconds: nanoseconds)
      } else if name.hasPrefix(prefix) {
        let own = String(name.dropFirst(prefix.count))
        guard isAllowed(own), isText(value) else { continue }
        options.metadata.append((own, value))
      }
    }
    return options
  }

  private static func nanoseconds(_ value: String) -> UInt64? {
    var value = value
    return value.withUTF8 { CallTimeout.parse(UnsafeRawBufferPointer($0)) }
  }

  /// Metadata may not pass for a field of the protocol itself.
  private static func isAllowed(_ name: String) -> Bool {
    let taken = ["te", "content-type", "user-agent", "connection", "host", "transfer-encoding"]
    guard !name.isEmpty, !name.hasPrefix("grpc-"), !name.hasPrefix(LoopbackMetadata.prefix),
      !taken.contains(name)
    else { return false }
    return name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
        true
      default: false
      }
    }
  }

  private static func isText(_ value: String) -> Bool {
    value.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
  }
}

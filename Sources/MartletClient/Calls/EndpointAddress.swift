import NIOCore
import RPC
import TLS

/// An endpoint as it is written in a configuration, read.
struct EndpointAddress: Hashable {
  /// As it was given.
  let text: String
  let address: RPCAddress
  let isSecure: Bool

  static let defaultPort = 2379

  /// Reads `http://host:port`, `https://host:port`, `host:port`, `host` or `unix:///path`.
  /// Without a scheme, `isSecure` decides. Throws `invalidArgument`.
  init(_ text: String, isSecure: Bool) throws(ClientError) {
    self.text = text
    var rest = Substring(text)
    if let scheme = rest.firstRange(of: "://") {
      let name = rest[..<scheme.lowerBound]
      rest = rest[scheme.upperBound...]
      switch name {
      case "http": self.isSecure = false
      case "https": self.isSecure = true
      case "unix", "unixs":
        self.isSecure = name == "unixs"
        address = .unix(path: String(rest))
        guard !rest.isEmpty else { throw Self.failure(text) }
        return
      default: throw Self.failure(text)
      }
    } else {
      self.isSecure = isSecure
    }
    if rest.last == "/" { rest = rest.dropLast() }
    guard let (host, port) = Self.split(rest) else { throw Self.failure(text) }
    address = .host(host, port: port)
  }

  private static func failure(_ text: String) -> ClientError {
    .invalid("\"\(text)\" is not an endpoint such as http://127.0.0.1:2379")
  }

  private static func split(_ text: Substring) -> (String, Int)? {
    guard !text.isEmpty, !text.contains("/"), !text.contains(" ") else { return nil }
    var host = text
    var port = Substring("\(defaultPort)")
    if text.first == "[" {
      guard let end = text.firstIndex(of: "]") else { return nil }
      host = text[text.index(after: text.startIndex)..<end]
      let rest = text[text.index(after: end)...]
      guard rest.isEmpty || rest.first == ":" else { return nil }
      if !rest.isEmpty { port = rest.dropFirst() }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = text[text.index(after: colon)...]
      guard !host.contains(":") else { return nil }
    }
    guard !host.isEmpty, let number = UInt16(port), number > 0 else { return nil }
    return (String(host), Int(number))
  }

  /// The endpoint, to which a connection is made when it is first used.
  func makeEndpoint(
    _ configuration: ClientConfiguration,
    tls: ClientTLS?,
    group: any EventLoopGroup
  ) -> Endpoint {
    var rpc = RPCClientConfiguration()
    rpc.messageBytesMax = configuration.responseBytesMax
    rpc.connectTimeout = configuration.connectTimeout.timeAmount
    rpc.keepaliveInterval = configuration.keepaliveInterval.timeAmount
    rpc.keepaliveTimeout = configuration.keepaliveTimeout.timeAmount
    rpc.inputBufferedBytesMax = Self.streamBufferedBytesMax
    rpc.streamWindowBytes = Self.streamWindowBytes
    // A stream whose reader is slow holds back only itself, however many there are.
    rpc.connectionWindowBytes = Self.connectionWindowBytes
    rpc.isSecure = isSecure
    let troubles = TroubleLog()
    if isSecure, let tls {
      let host = if case .host(let host, _) = address { host } else { "" }
      rpc.setup = { channel in
        try tls.install(on: channel, host: host)
        try channel.pipeline.syncOperations.addHandler(TroubleHandler(troubles))
      }
    }
    let client = RPCClient(address: address, group: group, configuration: rpc)
    return Endpoint(address: self, client: client, troubles: troubles)
  }

  /// What waits here for a slow reader of one stream before the member is held back, and what the
  /// member may have sent beyond that.
  static let streamBufferedBytesMax = 128 << 10
  static let streamWindowBytes: UInt32 = 256 << 10
  static let connectionWindowBytes: UInt32 = 1 << 30
}

extension Duration {
  var timeAmount: TimeAmount { .nanoseconds(nanoseconds) }

  /// In whole nanoseconds, at most what an `Int64` holds: 292 years.
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (scaled, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    guard !isTooLong else { return seconds < 0 ? .min : .max }
    let (sum, overflow) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
    return overflow ? .max : sum
  }
}

/// A server behind the gateway.
package struct GatewayEndpoint: Hashable, Sendable, CustomStringConvertible {
  /// A name or an address; an IPv6 address without brackets.
  package let host: String
  package let port: Int
  /// As of SRV records: the lowest priority that works is used, and those of one priority in
  /// proportion to their weights.
  package let priority: UInt16
  package let weight: UInt16

  package init(host: String, port: Int, priority: UInt16 = 0, weight: UInt16 = 0) {
    self.host = host
    self.port = port
    self.priority = priority
    self.weight = weight
  }

  /// Reads `host:port`, with a scheme and a path that do not matter to the gateway, such as
  /// `https://host:2379/`. Nil when it is none.
  package init?(_ text: String) {
    var rest = text[...]
    if let scheme = Self.schemes.first(where: { rest.hasPrefix($0) }) {
      rest = rest.dropFirst(scheme.count)
      rest = rest.prefix { $0 != "/" }
    }
    guard let colon = rest.lastIndex(of: ":"),
      let port = UInt16(rest[rest.index(after: colon)...])
    else { return nil }
    var host = rest[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    self.init(host: String(host), port: Int(port))
  }

  private static let schemes = ["http://", "https://", "unix://"]

  package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

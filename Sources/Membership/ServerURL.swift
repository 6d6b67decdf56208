/// An address that a member listens on or advertises: `http://host:port`, `https://host:port`,
/// `unix://path` or `unixs://path`.
///
/// Values are canonical (lower-case scheme, nothing around it), so equal addresses compare equal
/// and `description` is what member IDs are computed from.
package struct ServerURL: Hashable, Comparable, Sendable, CustomStringConvertible {
  package enum Scheme: String, Sendable {
    case http
    case https
    case unix
    case unixs
  }

  package let scheme: Scheme
  /// The host without the brackets of an IPv6 address; empty means "every interface". For a
  /// unix socket: its path.
  package let host: String
  /// The TCP port, 0 for "any free one"; 0 for a unix socket.
  package let port: UInt16
  package let description: String

  /// The longest URL that is read; anything longer is refused before it is looked at.
  package static let lengthBytesMax = 4096

  /// Whether the address asks for TLS.
  package var isSecure: Bool { scheme == .https || scheme == .unixs }

  /// Whether the address is a unix socket and `host` its path.
  package var isUnixSocket: Bool { scheme == .unix || scheme == .unixs }

  /// Whether both URLs name one socket; port 0 is a new one each time.
  package func sharesAddress(with other: ServerURL) -> Bool {
    isUnixSocket == other.isUnixSocket && host == other.host && port == other.port
      && (isUnixSocket || port != 0)
  }

  package static func < (left: ServerURL, right: ServerURL) -> Bool {
    left.description < right.description
  }

  /// Reads one URL. Spaces around it do not count.
  package init(_ text: String) throws(ServerURLError) {
    let text = text.trimmingASCIISpace()
    guard !text.isEmpty else { throw .empty }
    guard text.utf8.count <= Self.lengthBytesMax else { throw .tooLong }
    guard text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else { throw .badCharacter(text) }
    guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://"),
      let scheme = Scheme(rawValue: text[..<colon].lowercased())
    else { throw .badScheme(text) }
    self.scheme = scheme
    let rest = text[colon...].dropFirst(3)
    if scheme == .unix || scheme == .unixs {
      guard !rest.isEmpty else { throw .noSocketPath(text) }
      host = String(rest)
      port = 0
    } else {
      (host, port) = try Self.hostAndPort(rest, of: text)
    }
    description = "\(scheme.rawValue)://\(rest)"
  }

  /// Reads a comma-separated list, as the flags have it. The result is sorted and without
  /// duplicates; an empty list is an error.
  package static func list(_ text: String) throws(ServerURLError) -> [ServerURL] {
    try list(text.split(separator: ",").map(String.init))
  }

  /// Reads several URLs. The result is sorted and without duplicates; none at all is an error.
  package static func list(_ texts: [String]) throws(ServerURLError) -> [ServerURL] {
    var urls: [ServerURL] = []
    for text in texts { urls.append(try ServerURL(text)) }
    guard !urls.isEmpty else { throw .empty }
    urls.sort()
    return urls.indices.compactMap { index in
      index > 0 && urls[index] == urls[index - 1] ? nil : urls[index]
    }
  }

  private static func hostAndPort(
    _ rest: Substring,
    of text: String
  ) throws(ServerURLError) -> (host: String, port: UInt16) {
    if rest.contains("/") { throw .hasPath(text) }
    if rest.contains("?") || rest.contains("#") || rest.contains("@") { throw .hasExtras(text) }
    guard let colon = rest.lastIndex(of: ":") else { throw .noPort(text) }
    let digits = rest[rest.index(after: colon)...]
    var host = rest[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]"), host.count > 2 {
      host = host.dropFirst().dropLast()
      guard host.contains(":"), !host.contains("["), !host.contains("]") else {
        throw .badHost(text)
      }
    } else if host.hasPrefix("["), rest.hasSuffix("]") {
      throw .noPort(text)
    } else if host.contains(":") || host.contains("[") || host.contains("]") {
      throw .badHost(text)
    }
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let port = UInt16(digits)
    else { throw .badPort(text) }
    return (String(host), port)
  }
}

/// Why a URL was refused; `description` is meant for the operator.
package enum ServerURLError: Error, Hashable, CustomStringConvertible {
  case empty
  case tooLong
  case badCharacter(String)
  case badScheme(String)
  case noPort(String)
  case badPort(String)
  case badHost(String)
  case hasPath(String)
  case hasExtras(String)
  case noSocketPath(String)

  package var description: String {
    switch self {
    case .empty: "no URL given"
    case .tooLong: "a URL may have at most \(ServerURL.lengthBytesMax) bytes"
    case .badCharacter(let text): "URL holds a space or control character: \(text.debugDescription)"
    case .badScheme(let text): "URL must begin with http://, https:// or unix://: \(text)"
    case .noPort(let text): "URL needs host:port, the port is missing: \(text)"
    case .badPort(let text): "URL has no valid port (0 to 65535): \(text)"
    case .badHost(let text): "URL has no valid host (an IPv6 address goes in brackets): \(text)"
    case .hasPath(let text): "URL must not contain a path, not even a slash at its end: \(text)"
    case .hasExtras(let text): "URL must not contain a user, a query or a fragment: \(text)"
    case .noSocketPath(let text): "URL names no socket file: \(text)"
    }
  }
}

extension String {
  /// Without the ASCII spaces, tabs and line ends around it.
  package func trimmingASCIISpace() -> String {
    let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0.isNewline }
    guard let first = firstIndex(where: { !isSpace($0) }),
      let last = lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(self[first...last])
  }
}

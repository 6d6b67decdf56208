import RPC
import Synchronization

/// Stands before everything that is served over plain HTTP: which hosts may be asked for, and which
/// pages of browsers may ask.
struct AccessControl: HTTPHandler {
  private let inner: any HTTPHandler
  /// Nil: any.
  private let origins: Set<String>?
  /// Nil: any.
  private let hosts: Set<String>?

  /// `origins` and `hosts` as the flags have them: `*`, or nothing, allows all.
  init(_ inner: any HTTPHandler, origins: [String], hosts: [String]) {
    self.inner = inner
    self.origins = origins.isEmpty || origins.contains("*") ? nil : Set(origins)
    self.hosts = hosts.isEmpty || hosts.contains("*") ? nil : Set(hosts)
  }

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    let host = Self.hostName(request.header("host") ?? "")
    // With TLS the certificate says already who was meant.
    if let hosts, !request.isSecure, !hosts.contains(host) {
      return HTTPResponse(
        status: 421,
        text: """
          This member does not answer to the host name that was asked for.
          Ask for one that --host-whitelist allows, add the name to it, or use TLS.

          """
      )
    }
    let origin = allowedOrigin(request)
    var response: HTTPResponse
    if request.method == "OPTIONS" {
      response = HTTPResponse(status: 200, headers: [], body: .bytes([]))
    } else {
      response = await inner.respond(to: request)
    }
    if let origin { response.headers.append(contentsOf: Self.headers(allowing: origin)) }
    return response
  }

  func answersWhileReading(method: String, path: String) -> Bool {
    inner.answersWhileReading(method: method, path: path)
  }

  private func allowedOrigin(_ request: HTTPRequest) -> String? {
    guard let origins else { return "*" }
    guard let origin = request.header("origin"), origins.contains(origin) else { return nil }
    return origin
  }

  private static func headers(allowing origin: String) -> [(name: String, value: String)] {
    [
      ("access-control-allow-headers", "accept, content-type, authorization"),
      ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
      ("access-control-allow-origin", origin),
    ]
  }

  /// The host of a `Host` header, without its port and without an IPv6 address's brackets.
  static func hostName(_ host: String) -> String {
    if host.hasPrefix("["), let end = host.firstIndex(of: "]") {
      return String(host[host.index(after: host.startIndex)..<end])
    }
    guard let colon = host.lastIndex(of: ":"), host.firstIndex(of: ":") == colon else {
      return host
    }
    return String(host[..<colon])
  }
}

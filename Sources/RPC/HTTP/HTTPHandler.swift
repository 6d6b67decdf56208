/// A plain HTTP request, over HTTP/1.1 or HTTP/2, read in full unless the handler wants it before.
package struct HTTPRequest: Sendable {
  package var method: String
  /// The path as it came, still percent-encoded, without the query.
  package var path: String
  /// What follows the `?`, still percent-encoded; empty when there is none.
  package var query: String
  /// In the order of arrival; names in lower case. HTTP/2's `:authority` is here as `host`.
  package var headers: [(name: String, value: String)]
  package var body: [UInt8]
  /// The body, when the handler answers while it arrives; `body` is empty then.
  package var arriving: HTTPRequestBody?
  /// The peer's address as text, `10.0.0.7:41244`; empty when unknown.
  package var peer: String
  /// The connection is encrypted, as `ListenerOptions.isSecure` says.
  package var isSecure: Bool

  package init(
    method: String,
    target: String,
    headers: [(name: String, value: String)],
    body: [UInt8],
    peer: String,
    isSecure: Bool = false
  ) {
    self.method = method
    let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    path = String(parts.first ?? "")
    query = parts.count > 1 ? String(parts[1]) : ""
    self.headers = headers
    self.body = body
    self.peer = peer
    self.isSecure = isSecure
  }

  /// The value of the first header with this name, which must be in lower case.
  package func header(_ name: String) -> String? {
    headers.first { $0.name == name }?.value
  }
}

/// The answer to an `HTTPRequest`.
package struct HTTPResponse: Sendable {
  package enum Body: Sendable {
    case bytes([UInt8])
    /// A body written piece by piece. The closure runs as part of the request's task; the body
    /// ends when it returns, and the connection is broken off when it throws.
    case stream(@Sendable (any HTTPBodyWriter) async throws -> Void)
  }

  package var status: Int
  /// Names in lower case. `content-length` is added by the server.
  package var headers: [(name: String, value: String)]
  package var body: Body

  package init(status: Int, headers: [(name: String, value: String)], body: Body) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// A short text.
  package init(status: Int, text: String, contentType: String = "text/plain; charset=utf-8") {
    self.init(
      status: status,
      headers: [("content-type", contentType)],
      body: .bytes([UInt8](text.utf8))
    )
  }
}

/// Answers the requests on a listening socket that are not gRPC.
package protocol HTTPHandler: Sendable {
  /// Called in a task of its own for each request. The task is cancelled when the client goes.
  func respond(to request: HTTPRequest) async -> HTTPResponse
  /// Whether requests of this method and path are answered while their bodies arrive.
  func answersWhileReading(method: String, path: String) -> Bool
}

extension HTTPHandler {
  package func answersWhileReading(method: String, path: String) -> Bool { false }
}

/// The client of a streamed body went away.
package struct HTTPClientGone: Error {}

/// Where a streamed body is written to.
package protocol HTTPBodyWriter: Sendable {
  /// Sends a piece and waits until the client has taken enough of what went before.
  /// Throws `HTTPClientGone`, or `CancellationError` when the task is cancelled.
  func write(_ bytes: [UInt8]) async throws
}

import NIOCore

/// The way back to the client of one plain HTTP request.
protocol HTTPSink: HTTPBodyWriter {
  /// Sends the status and headers; with a `body`, that is all there is to send.
  func send(status: Int, headers: [(name: String, value: String)], body: [UInt8]?) async throws
  /// Ends a body that was sent with `write`.
  func end() async throws
  /// Breaks the answer off, so that the client does not take it for whole.
  func abort()
}

/// Asks the handler in a task of its own and sends what it answers.
func answer(
  _ request: HTTPRequest,
  with handler: any HTTPHandler,
  to sink: some HTTPSink
) -> Task<Void, Never> {
  Task {
    let response = await handler.respond(to: request)
    do {
      switch response.body {
      case .bytes(let bytes):
        let headers = response.headers + [("content-length", String(bytes.count))]
        try await sink.send(status: response.status, headers: headers, body: bytes)
      case .stream(let produce):
        try await sink.send(status: response.status, headers: response.headers, body: nil)
        try await produce(sink)
        try await sink.end()
      }
    } catch {
      sink.abort()
    }
  }
}

import Proto
import RPC

/// A stream of responses under way, from its second message on.
final class OpenStream<Response: Message>: Sendable {
  private let stream: ResponseStream<Response>
  private let use: EndpointUse
  private let caller: Caller

  init(_ stream: ResponseStream<Response>, _ use: EndpointUse, _ caller: Caller) {
    self.stream = stream
    self.use = use
    self.caller = caller
  }

  /// The next message; nil after the last. One reader at a time.
  func next() async throws(ClientError) -> Response? {
    var iterator = stream.makeAsyncIterator()
    do throws(RPCError) {
      return try await iterator.next(isolation: nil)
    } catch {
      throw caller.streamFailure(error, use.endpoint)
    }
  }

  func cancel() {
    stream.cancel()
  }
}

extension Caller {
  /// What it means that a stream ended so.
  func streamFailure(_ error: RPCError, _ endpoint: Endpoint) -> ClientError {
    let failure = ClientError(error, .read, endpoint: endpoint)
    if endpoints.isClosed { return .closed }
    if Task.isCancelled { return .canceled() }
    noteHealth(endpoint, failure)
    return failure
  }
}

extension Caller.Attempt {
  /// For streams: they may last.
  var streamOptions: CallOptions { CallOptions(metadata: metadata) }
}

extension CallScope {
  /// Opens a stream and waits for its first message, within the deadline; after that it has no
  /// deadline.
  func openStream<Response: Message>(
    _ name: CallName,
    at endpoint: String? = nil,
    _ open: (Caller.Attempt) async throws(RPCError) -> ResponseStream<Response>
  ) async throws(ClientError) -> (OpenStream<Response>, first: Response?) {
    try await call(name, .read, at: endpoint) { attempt async throws(RPCError) in
      let use = EndpointUse(attempt.endpoint)
      let stream = try await open(attempt)
      var iterator = stream.makeAsyncIterator()
      let first = try await attempt.withTimeout(cancelling: { stream.cancel() }) {
        () async throws(RPCError) in
        try await iterator.next(isolation: nil)
      }
      return (OpenStream(stream, use, caller), first)
    }
  }
}

extension Caller.Attempt {
  /// Runs `body` within the attempt's time; `cancel` is to make it end early.
  func withTimeout<Value>(
    cancelling cancel: @escaping @Sendable () -> Void,
    _ body: () async throws(RPCError) -> Value
  ) async throws(RPCError) -> Value {
    guard let timeout else { return try await body() }
    let start = ContinuousClock().now
    let timer = Task {
      guard (try? await Task.sleep(for: timeout)) != nil else { return }
      cancel()
    }
    defer { timer.cancel() }
    do throws(RPCError) {
      return try await body()
    } catch {
      guard error.code == .canceled, start.duration(to: ContinuousClock().now) >= timeout else {
        throw error
      }
      throw RPCError(.deadlineExceeded, mayHaveBeenProcessed: error.mayHaveBeenProcessed)
    }
  }
}

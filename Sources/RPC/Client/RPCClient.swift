import Base
package import NIOCore
package import Proto

/// A client of one server. Connects when the first call is made, and again when the connection is
/// lost. Calls may be made from any task. One that is let go without `shutdown` closes its connection
/// when the calls that run have ended.
package final class RPCClient: Sendable {
  private let core: ClientCore

  package init(
    address: RPCAddress,
    group: any EventLoopGroup,
    configuration: RPCClientConfiguration = RPCClientConfiguration()
  ) {
    core = ClientCore(
      target: .address(address),
      eventLoop: group.next(),
      configuration: configuration
    )
  }

  /// A client of a server in the same process, over a connection that nobody else can reach; see
  /// `RPCServer.attach`. Both ends live on the loop's event loop.
  package init(attachedTo server: RPCServer, on loop: RPCServerLoop) {
    core = ClientCore(
      target: .loopback(server, loop),
      eventLoop: loop.eventLoop,
      configuration: .loopback
    )
  }

  /// One request, one response. Cancelling the task takes the call back.
  package func unary<Request: Message, Response: Message>(
    _ path: MethodPath,
    _ request: Request,
    options: CallOptions = CallOptions()
  ) async throws(RPCError) -> Response {
    let call = makeCall(options)
    let message = Self.encode(request)
    let core = core
    let bytes = try await call.only {
      core.start(call, path, options)
      call.write(message)
      call.halfClose()
    }
    return try Self.decode(bytes)
  }

  /// One request, a stream of responses. The call is taken back when the stream is released
  /// before its end.
  package func serverStreaming<Request: Message, Response: Message>(
    _ path: MethodPath,
    _ request: Request,
    options: CallOptions = CallOptions()
  ) async throws(RPCError) -> ResponseStream<Response> {
    let call = makeCall(options)
    let message = Self.encode(request)
    let core = core
    core.eventLoop.execute {
      core.start(call, path, options)
      call.write(message)
      call.halfClose()
    }
    return ResponseStream(owner: CallOwner(call))
  }

  /// A stream of requests, and of responses: also for methods that answer with only one.
  package func bidirectional<Request: Message, Response: Message>(
    _ path: MethodPath,
    request: Request.Type = Request.self,
    response: Response.Type = Response.self,
    options: CallOptions = CallOptions()
  ) async throws(RPCError) -> StreamingCall<Request, Response> {
    let call = makeCall(options)
    let core = core
    core.eventLoop.execute { core.start(call, path, options) }
    return StreamingCall(owner: CallOwner(call))
  }

  /// Ends all calls and closes the connection.
  package func shutdown() async {
    let core = core
    // The future of `shutdown` does not fail.
    try? await core.eventLoop.flatSubmit { core.shutdown() }.get()
  }

  private func makeCall(_ options: CallOptions) -> ClientCall {
    ClientCall(
      eventLoop: core.eventLoop,
      options: options,
      inputBufferedBytesMax: core.configuration.inputBufferedBytesMax
    )
  }

  static func encode(_ message: some Message) -> SharedBytes {
    var writer = ByteWriter()
    message.encode(into: &writer)
    let block = writer.takeBlock(nextCapacity: 16)
    return SharedBytes(block, 0..<block.count)
  }

  static func decode<Value: Message>(_ bytes: [UInt8]) throws(RPCError) -> Value {
    do {
      return try bytes.withUnsafeBytes { bytes throws(DecodeError) in try Value(decoding: bytes) }
    } catch {
      throw RPCError(
        .internal("grpc: failed to unmarshal the received message: \(error)"),
        mayHaveBeenProcessed: true
      )
    }
  }
}

/// Takes its call back when nobody can read it any more.
final class CallOwner: Sendable {
  let call: ClientCall

  init(_ call: ClientCall) {
    self.call = call
  }

  deinit {
    call.cancel()
  }
}

/// The messages of a response stream. One reader at a time; a slow one holds the server back.
///
/// Ends by throwing `RPCError` unless the call's status is OK.
package struct ResponseStream<Response: Message>: AsyncSequence, Sendable {
  package typealias Element = Response
  package typealias Failure = RPCError

  let owner: CallOwner

  package struct AsyncIterator: AsyncIteratorProtocol {
    let owner: CallOwner

    package mutating func next() async throws -> Response? {
      try await next(isolation: nil)
    }

    package mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(RPCError) -> Response? {
      guard let bytes = try await owner.call.next() else { return nil }
      return try RPCClient.decode(bytes)
    }
  }

  package func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(owner: owner)
  }

  /// Takes the call back.
  package func cancel() {
    owner.call.cancel()
  }
}

/// A call with a stream of requests.
package struct StreamingCall<Request: Message, Response: Message>: Sendable {
  let owner: CallOwner

  /// The responses.
  package var responses: ResponseStream<Response> { ResponseStream(owner: owner) }

  /// Sends a request, and waits while the server is slow to take them. Without effect when the
  /// call has ended: how, `responses` says.
  package func send(_ request: Request) async {
    await owner.call.send(RPCClient.encode(request))
  }

  /// Sends a request without waiting, in the order of these calls: what the server does not take in
  /// time piles up here. Without effect when the call has ended.
  package func post(_ request: Request) {
    let call = owner.call
    let message = RPCClient.encode(request)
    call.eventLoop.execute { call.write(message) }
  }

  /// Ends the request stream.
  package func finishSending() {
    let call = owner.call
    call.eventLoop.execute { call.halfClose() }
  }

  /// The only response, of a method that answers with one when the requests have ended.
  package func response() async throws(RPCError) -> Response {
    try RPCClient.decode(try await owner.call.only {})
  }

  /// Takes the call back.
  package func cancel() {
    owner.call.cancel()
  }
}

import Base
import NIOCore
import Proto
import RPC

extension Upstream {
  /// A call of the proxy's own, with one answer. Throws `RPCError`.
  func unary<Request: Message, Response: Message>(
    _ path: String,
    _ request: Request,
    timeout: TimeAmount
  ) async throws -> Response {
    let answer = eventLoop.makePromise(of: Response.self)
    eventLoop.execute {
      let call = UpstreamCall(
        headers: self.headers(path, metadata: [], timeout: timeout),
        sink: UnarySink(answer)
      )
      call.send(SharedBytes(encoding: request))
      call.halfClose()
      self.start(call)
    }
    return try await answer.futureResult.get()
  }
}

/// Keeps a promise by a call's only answer.
private final class UnarySink<Response: Message>: UpstreamSink {
  private let answer: EventLoopPromise<Response>
  private var response: Response?

  init(_ answer: EventLoopPromise<Response>) {
    self.answer = answer
  }

  func upstreamReceived(_ message: UnsafeRawBufferPointer) {
    response = try? Response(decoding: message)
  }

  func upstreamEnded(_ end: CallEnd) {
    if end.status == .ok, let response {
      answer.succeed(response)
    } else {
      let status = end.status == .ok ? RPCStatus.internal("no answer") : end.status
      answer.fail(RPCError(status, mayHaveBeenProcessed: end.mayHaveBeenProcessed))
    }
  }
}

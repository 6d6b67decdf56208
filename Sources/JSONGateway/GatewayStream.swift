import Proto
import RPC

/// A streaming call on its way to an HTTP client. Its call, and what still sends to it, end with it.
final class GatewayStream: Sendable {
  private let descriptor: MessageDescriptor
  private let responses: ResponseStream<RawMessage>
  private let sender: Task<Void, Never>?
  private let share: GatewayLoad.Share

  init(
    _ descriptor: MessageDescriptor,
    _ responses: ResponseStream<RawMessage>,
    _ sender: Task<Void, Never>?,
    _ share: GatewayLoad.Share
  ) {
    self.descriptor = descriptor
    self.responses = responses
    self.sender = sender
    self.share = share
  }

  deinit {
    sender?.cancel()
    responses.cancel()
  }

  /// Waits for the first message, because the HTTP status depends on whether there is one.
  func response() async -> HTTPResponse {
    do {
      var iterator = responses.makeAsyncIterator()
      guard let first = try await iterator.next(isolation: nil) else {
        return GatewayResponse.stream(.bytes([]))
      }
      let line = try GatewayResponse.line(descriptor, first.bytes)
      return GatewayResponse.stream(
        .stream { writer in
          try await writer.write(line)
          try await self.writeRest(to: writer)
        }
      )
    } catch {
      return GatewayResponse.streamError(Gateway.status(error))
    }
  }

  /// Throws only what the writer throws: the client is gone.
  private func writeRest(to writer: any HTTPBodyWriter) async throws {
    var iterator = responses.makeAsyncIterator()
    while true {
      let line: [UInt8]
      do {
        guard let message = try await iterator.next(isolation: nil) else { return }
        line = try GatewayResponse.line(descriptor, message.bytes)
      } catch {
        return try await writer.write(GatewayResponse.errorLine(Gateway.status(error)))
      }
      try await writer.write(line)
    }
  }
}

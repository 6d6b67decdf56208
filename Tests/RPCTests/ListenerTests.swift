import NIOCore
import NIOPosix
import RPC
import Testing

/// Sockets of one server that serve different things.
@Suite struct ListenerTests {
  /// What TLS does when the client's certificate was verified.
  final class Identifier: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelActive(context: ChannelHandlerContext) {
      context.fireChannelActive()
      context.fireUserInboundEventTriggered(PeerIdentity(commonName: "alice"))
    }
  }

  private func client(_ fixture: Fixture, _ address: SocketAddress?) throws -> RPCClient {
    let port = try #require(address?.port)
    return RPCClient(
      address: .host("127.0.0.1", port: port),
      group: MultiThreadedEventLoopGroup.singleton
    )
  }

  @Test func callsKnowTheCommonNameOfTheirConnection() async throws {
    try await withServer { fixture in
      let address = try await fixture.server.listen(on: .host("127.0.0.1", port: 0)) { channel in
        try channel.pipeline.syncOperations.addHandler(Identifier())
      }
      let client = try client(fixture, address)
      for _ in 0..<2 {
        let answer: Blob = try await client.unary(Echo.inspect, Blob(""))
        #expect(answer.text.hasSuffix(" cn=alice"), "\(answer.text)")
      }
      await client.shutdown()
      let anonymous: Blob = try await fixture.client.unary(Echo.inspect, Blob(""))
      #expect(!anonymous.text.contains("cn="))
    }
  }

  @Test func aSocketForHTTPRefusesCalls() async throws {
    try await withServer(httpHandler: HTTPTests.Handler()) { fixture in
      var options = ListenerOptions()
      options.servesCalls = false
      let address = try await fixture.server.listen(
        on: .host("127.0.0.1", port: 0),
        options: options
      )
      let port = try #require(address?.port)
      let client = try client(fixture, address)
      let error = await #expect(throws: RPCError.self) {
        let _: Blob = try await client.unary(Echo.unary, Blob("a"))
      }
      #expect(error?.code == .unimplemented)
      await client.shutdown()
      let health = try await HTTPTests.exchange(
        port: port,
        "GET /health HTTP/1.1\r\n\(HTTPTests.get)"
      )
      #expect(health.hasPrefix("HTTP/1.1 200"))
    }
  }

  @Test func aSocketForCallsRefusesHTTP() async throws {
    try await withServer(httpHandler: HTTPTests.Handler()) { fixture in
      var options = ListenerOptions()
      options.http = .none
      let address = try await fixture.server.listen(
        on: .host("127.0.0.1", port: 0),
        options: options
      )
      let client = try client(fixture, address)
      let answer: Blob = try await client.unary(Echo.unary, Blob("a"))
      #expect(answer.text == "a")
      await client.shutdown()
      let health = try await HTTPTests.exchange(
        port: try #require(address?.port),
        "GET /health HTTP/1.1\r\n\(HTTPTests.get)"
      )
      #expect(health.hasPrefix("HTTP/1.1 404"), "\(health)")
    }
  }

  @Test func severalListenersShareAPortWhenTheyMay() async throws {
    try await withServer { fixture in
      var options = ListenerOptions()
      options.reusesPort = true
      let first = try await fixture.server.listen(on: .host("127.0.0.1", port: 0), options: options)
      let address = RPCAddress.host("127.0.0.1", port: try #require(first?.port))
      let second = try await fixture.server.listen(on: address, options: options)
      #expect(second?.port == first?.port)
      await #expect(throws: IOError.self) { try await fixture.server.listen(on: address) }
    }
  }
}

import NIOCore
import NIOPosix
import RPC
import Testing

/// Plain HTTP on the port that speaks gRPC.
@Suite struct HTTPTests {
  struct Handler: HTTPHandler {
    func respond(to request: HTTPRequest) async -> HTTPResponse {
      switch request.path {
      case "/health":
        return HTTPResponse(
          status: 200,
          text: #"{"health":"true"}"#,
          contentType: "application/json"
        )
      case "/stream":
        return HTTPResponse(
          status: 200,
          headers: [("content-type", "text/plain")],
          body: .stream { writer in
            for line in ["one\n", "two\n", "three\n"] { try await writer.write([UInt8](line.utf8)) }
          }
        )
      case "/big":
        return HTTPResponse(
          status: 200,
          headers: [],
          body: .stream { writer in
            for _ in 0..<256 { try await writer.write([UInt8](repeating: 0x61, count: 16 << 10)) }
          }
        )
      default:
        let body = String(decoding: request.body, as: UTF8.self)
        let host = request.header("host") ?? "none"
        return HTTPResponse(
          status: 404,
          text: "\(request.method) \(request.path) ? \(request.query) host \(host) : \(body)"
        )
      }
    }
  }

  /// Sends bytes as they are and reads until the server closes.
  static func exchange(port: Int, _ text: String) async throws -> String {
    let received = ByteSink()
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelOption(.allowRemoteHalfClosure, value: false)
      .channelInitializer { channel in channel.pipeline.addHandler(received) }
      .connect(host: "127.0.0.1", port: port)
      .flatMap { channel in
        // Written on the event loop: a busy test process may take longer to resume this task than
        // the server waits for the first bytes. A server that has closed already is an answer too:
        // the reads below tell.
        channel.writeAndFlush(ByteBuffer(string: text)).flatMapErrorThrowing { _ in }
          .map { channel }
      }.get()
    try await channel.closeFuture.get()
    return try await channel.eventLoop.submit { received.text }.get()
  }

  static let get = "Host: a\r\nConnection: close\r\n\r\n"

  @Test func health() async throws {
    try await withServer(httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "GET /health HTTP/1.1\r\n\(Self.get)"
      )
      #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
      #expect(answer.contains("content-length: 17\r\n"))
      #expect(answer.hasSuffix("\r\n\r\n{\"health\":\"true\"}"))
    }
  }

  @Test func keepAliveAndPipelining() async throws {
    try await withServer(httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
          + "POST /x?y=z HTTP/1.1\r\nContent-Length: 3\r\n\(Self.get)abc"
      )
      #expect(answer.hasSuffix("POST /x ? y=z host a : abc"))
      #expect(answer.contains(#"{"health":"true"}"#))
    }
  }

  @Test func headHasNoBody() async throws {
    try await withServer(httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "HEAD /health HTTP/1.1\r\n\(Self.get)"
      )
      #expect(answer.contains("content-length: 17\r\n"))
      #expect(answer.hasSuffix("\r\n\r\n"))
    }
  }

  @Test func streamedBodyIsChunked() async throws {
    try await withServer(httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "GET /stream HTTP/1.1\r\n\(Self.get)"
      )
      #expect(answer.contains("transfer-encoding: chunked\r\n"))
      #expect(answer.hasSuffix("4\r\none\n\r\n4\r\ntwo\n\r\n6\r\nthree\n\r\n0\r\n\r\n"))
    }
  }

  @Test func bodyIsBounded() async throws {
    var configuration = RPCServerConfiguration()
    configuration.httpBodyBytesMax = 10
    try await withServer(configuration, httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "POST /x HTTP/1.1\r\nContent-Length: 11\r\n\(Self.get)01234567890"
      )
      #expect(answer.hasPrefix("HTTP/1.1 413 "))
    }
  }

  @Test func silentConnectionIsClosed() async throws {
    var configuration = RPCServerConfiguration()
    configuration.firstBytesTimeout = .milliseconds(50)
    configuration.requestArrivalTimeout = .milliseconds(50)
    try await withServer(configuration, httpHandler: Handler()) { fixture in
      for start in [
        "", "PRI * HT", "GET /health HT", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na",
      ] {
        let answer = try await Self.exchange(port: fixture.port, start)
        #expect(answer == "", "\(start)")
      }
    }
  }

  @Test func garbageIsRefused() async throws {
    try await withServer(httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(port: fixture.port, "\u{0}\u{1}\u{2}\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 400 "))
    }
  }

  @Test func prefaceByteByByteIsStillHTTP2() async throws {
    // "PRI" is the start of both; the fourth byte decides.
    try await withServer(httpHandler: Handler()) { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "PRIX /y HTTP/1.1\r\n\(Self.get)"
      )
      #expect(answer.hasPrefix("HTTP/1.1 "))
    }
  }

  @Test func withoutHandler() async throws {
    try await withServer { fixture in
      let answer = try await Self.exchange(
        port: fixture.port,
        "GET /health HTTP/1.1\r\n\(Self.get)"
      )
      #expect(answer.hasPrefix("HTTP/1.1 404 "))
    }
  }

  @Test func overHTTP2() async throws {
    try await withServer(httpHandler: Handler()) { fixture in
      let raw = try await fixture.makeRaw()
      let health = await raw.call(
        RawClient.headers("/health", [":method": "GET", "content-type": "-", "te": "-"]),
        []
      )
      #expect(health.headers[":status"] == "200")
      #expect(health.text == #"{"health":"true"}"#)
      let other = await raw.call(
        RawClient.headers("/a/b?c", ["content-type": "text/plain"]),
        [[0x68], [0x69]]
      )
      #expect(other.headers[":status"] == "404")
      #expect(other.text == "POST /a/b ? c host test : hi")
      let stream = await raw.call(
        RawClient.headers("/stream", [":method": "GET", "content-type": "-"]),
        []
      )
      #expect(stream.text == "one\ntwo\nthree\n")
      let big = await raw.call(
        RawClient.headers("/big", [":method": "GET", "content-type": "-"]),
        []
      )
      #expect(big.body.count == 4 << 20)
      let head = await raw.call(
        RawClient.headers("/health", [":method": "HEAD", "content-type": "-"]),
        []
      )
      #expect(head.headers["content-length"] == "17")
      #expect(head.body.isEmpty)
      await raw.close()
    }
  }

  @Test func bodyOverHTTP2IsBounded() async throws {
    var configuration = RPCServerConfiguration()
    configuration.httpBodyBytesMax = 10
    try await withServer(configuration, httpHandler: Handler()) { fixture in
      let raw = try await fixture.makeRaw()
      let answer = await raw.call(
        RawClient.headers("/x", ["content-type": "text/plain"]),
        [[UInt8](repeating: 1, count: 11)]
      )
      #expect(answer.headers[":status"] == "413")
      await raw.close()
    }
  }
}

/// Gathers what arrives. Confined to its channel's loop.
final class ByteSink: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer
  private var received = ByteBuffer()

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    received.writeBuffer(&bytes)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  var text: String { String(buffer: received) }
}

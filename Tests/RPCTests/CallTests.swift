import NIOCore
import NIOPosix
import Proto
import RPC
import Testing

/// All kinds of calls, from our client to our server over a socket.
@Suite struct CallTests {
  @Test func unary() async throws {
    try await withServer { fixture in
      for size in [0, 1, 100, 16_384, 70_000, 1_500_000] {
        let request = Blob((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        let response: Blob = try await fixture.client.unary(Echo.unary, request)
        #expect(response == request, "\(size) bytes")
        let sum = request.bytes.reduce(0) { $0 &+ Int($1) }
        await fixture.log.wait(for: "sum \(sum)")
      }
    }
  }

  @Test func manyAtOnce() async throws {
    try await withServer { fixture in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<500 {
          group.addTask {
            let response: Blob = try await fixture.client.unary(Echo.unary, Blob("\(number)"))
            #expect(response.text == "\(number)")
          }
        }
        try await group.waitForAll()
      }
      let counters = await fixture.server.counters()
      let echo = try #require(counters.methods.first { $0.path == Echo.unary.path })
      #expect(echo.started == 500)
      #expect(echo.handled[0] == 500)
      #expect(echo.messagesReceived == 500)
      #expect(echo.messagesSent == 500)
      #expect(counters.calls == 0)
    }
  }

  @Test func serverStreaming() async throws {
    try await withServer { fixture in
      let stream: ResponseStream<Blob> = try await fixture.client.serverStreaming(
        Echo.expand,
        Blob([200, 7])
      )
      var count = 0
      for try await response in stream {
        #expect(response.bytes == [200, 7])
        count += 1
      }
      #expect(count == 200)
    }
  }

  @Test func serverStreamingWithoutMessages() async throws {
    try await withServer { fixture in
      let stream: ResponseStream<Blob> = try await fixture.client.serverStreaming(
        Echo.expand,
        Blob([0])
      )
      for try await _ in stream { Issue.record("a message") }
    }
  }

  @Test func clientStreaming() async throws {
    try await withServer { fixture in
      let call: StreamingCall<Blob, Blob> = try await fixture.client.bidirectional(Echo.collect)
      for part in ["a", "bc", "", "def"] { await call.send(Blob(part)) }
      call.finishSending()
      let collected = try await call.response().text
      #expect(collected == "abcdef")
      #expect(fixture.log.events.contains("start /test.Echo/Collect"))
    }
  }

  @Test func bidirectional() async throws {
    try await withServer { fixture in
      let call: StreamingCall<Blob, Blob> = try await fixture.client.bidirectional(Echo.chat)
      var responses = call.responses.makeAsyncIterator()
      for number in 0..<50 {
        await call.send(Blob("\(number)"))
        let echoed = try await responses.next()?.text
        #expect(echoed == "\(number)")
      }
      call.finishSending()
      let last = try await responses.next()
      #expect(last == nil)
    }
  }

  @Test(arguments: RPCCode.allCases.dropFirst())
  func statusArrives(code: RPCCode) async throws {
    try await withServer { fixture in
      let text = "etcdserver: 100% \u{2713} of \(code)\n"
      let request = Blob([code.rawValue] + [UInt8](text.utf8))
      let error = try await #require(throws: RPCError.self) {
        let _: Blob = try await fixture.client.unary(Echo.fail, request)
      }
      #expect(error.status == RPCStatus(code, text))
      #expect(error.mayHaveBeenProcessed)
    }
  }

  @Test func metadataArrives() async throws {
    try await withServer { fixture in
      let options = CallOptions(
        timeout: .seconds(30),
        metadata: [
          ("token", "simple.7"), ("trace-bin", Base64.encode([0, 255, 10])), ("hasleader", "true"),
        ]
      )
      let response: Blob = try await fixture.client.unary(Echo.inspect, Blob(), options: options)
      #expect(
        response.text == """
          path=/test.Echo/Inspect authority=127.0.0.1:\(fixture.port) token=simple.7 \
          trace=[0, 255, 10] headers=["token", "trace-bin", "hasleader"] deadline=true peer=true
          """
      )
      let plain: Blob = try await fixture.client.unary(Echo.inspect, Blob())
      #expect(plain.text.contains("token=none trace=none headers=[] deadline=false"))
    }
  }

  @Test func gzipRequest() async throws {
    try await withServer { fixture in
      var options = CallOptions()
      options.compressesRequests = true
      let request = Blob([UInt8](repeating: 3, count: 300_000))
      let response: Blob = try await fixture.client.unary(Echo.unary, request, options: options)
      #expect(response == request)
    }
  }

  @Test func unknownMethodAndService() async throws {
    try await withServer { fixture in
      await Self.expect(
        RPCStatus(.unimplemented, "unknown method Nothing for service test.Echo"),
        from: MethodPath("/test.Echo/Nothing"),
        fixture
      )
      await Self.expect(
        RPCStatus(.unimplemented, "unknown service no.Such"),
        from: MethodPath("/no.Such/Thing"),
        fixture
      )
      await Self.expect(
        RPCStatus(.unimplemented, "malformed method name: \"/odd\""),
        from: MethodPath("/odd"),
        fixture
      )
    }
  }

  static func expect(_ status: RPCStatus, from path: MethodPath, _ fixture: Fixture) async {
    let error = await #expect(throws: RPCError.self) {
      let _: Blob = try await fixture.client.unary(path, Blob())
    }
    #expect(error?.status == status)
  }

  @Test func malformedRequest() async throws {
    try await withServer { fixture in
      let error = try await #require(throws: RPCError.self) {
        let _: GrpcHealthV1.HealthCheckResponse = try await fixture.client.unary(
          MethodPath("/grpc.health.v1.Health/Check"),
          Blob([0xFF])
        )
      }
      #expect(error.code == .internal)
      #expect(error.status.message.hasPrefix("grpc: error unmarshalling request: "))
    }
  }

  @Test func oversizeIsRefused() async throws {
    var configuration = RPCServerConfiguration()
    configuration.messageBytesMax = 1000
    try await withServer(configuration) { fixture in
      let _: Blob = try await fixture.client.unary(
        Echo.unary,
        Blob([UInt8](repeating: 1, count: 1000))
      )
      let error = try await #require(throws: RPCError.self) {
        let _: Blob = try await fixture.client.unary(
          Echo.unary,
          Blob([UInt8](repeating: 1, count: 1001))
        )
      }
      #expect(
        error.status
          == RPCStatus(
            .resourceExhausted,
            "grpc: received message larger than max (1001 vs. 1000)"
          )
      )
      var options = CallOptions()
      options.compressesRequests = true
      let bomb = try await #require(throws: RPCError.self) {
        let _: Blob = try await fixture.client.unary(
          Echo.unary,
          Blob([UInt8](repeating: 1, count: 100_000)),
          options: options
        )
      }
      #expect(
        bomb.status
          == RPCStatus(
            .resourceExhausted,
            "grpc: received message after decompression larger than max 1000"
          )
      )
    }
  }

  @Test func connectFailureIsUnprocessed() async throws {
    let port = try await withServerPort()
    let client = RPCClient(
      address: .host("127.0.0.1", port: port),
      group: NIOSingletons.posixEventLoopGroup
    )
    let error = try await #require(throws: RPCError.self) {
      let _: Blob = try await client.unary(Echo.unary, Blob())
    }
    #expect(error.code == .unavailable)
    #expect(!error.mayHaveBeenProcessed)
    await client.shutdown()
  }

  /// A port where nobody listens any more.
  func withServerPort() async throws -> Int {
    let server = RPCServer(group: NIOSingletons.posixEventLoopGroup)
    try await server.start { _ in }
    let address = try await server.listen(on: .host("127.0.0.1", port: 0))
    await server.drain(timeout: .zero)
    return address?.port ?? 0
  }

  @Test func unixSocket() async throws {
    try await withServer { fixture in
      let path = "/tmp/martlet-rpc-test-\(fixture.port).sock"
      try await fixture.server.listen(on: .unix(path: path))
      let client = RPCClient(address: .unix(path: path), group: NIOSingletons.posixEventLoopGroup)
      let response: Blob = try await client.unary(Echo.unary, Blob("over unix"))
      #expect(response.text == "over unix")
      await client.shutdown()
    }
  }
}

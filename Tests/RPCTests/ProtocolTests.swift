import Base
import NIOCore
import RPC
import Testing

/// What other clients send, well-formed or not, seen on the level of HTTP/2.
@Suite struct ProtocolTests {
  typealias Answer = RawClient.Answer

  /// One call, by hand.
  func call(
    _ path: String = Echo.unary.path,
    _ changes: [String: String] = [:],
    _ pieces: [[UInt8]],
    endStream: Bool = true,
    configuration: RPCServerConfiguration = RPCServerConfiguration()
  ) async throws -> Answer {
    var answer = Answer()
    try await withServer(configuration) { fixture in
      let raw = try await fixture.makeRaw()
      answer = await raw.call(RawClient.headers(path, changes), pieces, endStream: endStream)
      // The connection is fine after whatever that was.
      let next = await raw.call(
        RawClient.headers(Echo.unary.path),
        [RawClient.frame([7])]
      )
      #expect(next.body == RawClient.frame([7]))
      #expect(next.status == "0")
      await raw.close()
    }
    return answer
  }

  @Test func unaryAnswerIsHeadersDataTrailers() async throws {
    let answer = try await call(Echo.unary.path, [:], [RawClient.frame([1, 2, 3])])
    #expect(answer.headers == [":status": "200", "content-type": "application/grpc"])
    #expect(answer.body == RawClient.frame([1, 2, 3]))
    #expect(answer.trailers["grpc-status"] == "0")
    #expect(!answer.isTrailersOnly)
  }

  @Test func messageCutIntoFramesOfOneByte() async throws {
    let frame = RawClient.frame([UInt8](0..<30))
    let answer = try await call(Echo.unary.path, [:], frame.map { [$0] })
    #expect(answer.body == frame)
    #expect(answer.status == "0")
  }

  @Test func immediateErrorIsTrailersOnly() async throws {
    let answer = try await call("/test.Echo/No\u{2713}", [:], [RawClient.frame([1])])
    #expect(answer.isTrailersOnly)
    #expect(answer.headers[":status"] == "200")
    #expect(answer.headers["content-type"] == "application/grpc")
    #expect(answer.status == "12")
    #expect(answer.message == "unknown method No%E2%9C%93 for service test.Echo")
  }

  @Test func errorFromTheServiceIsTrailersOnly() async throws {
    let answer = try await call(
      Echo.fail.path,
      [:],
      [RawClient.frame([3] + [UInt8]("etcdserver: key is not provided".utf8))]
    )
    #expect(answer.isTrailersOnly)
    #expect(answer.status == "3")
    #expect(answer.message == "etcdserver: key is not provided")
  }

  @Test(arguments: ["application/grpc", "application/grpc+proto", "application/grpc;v=1"])
  func contentTypeAccepted(type: String) async throws {
    let answer = try await call(
      Echo.unary.path,
      ["content-type": type],
      [RawClient.frame([1])]
    )
    #expect(answer.status == "0")
  }

  @Test(arguments: ["application/json", "application/grpc+json", "application/grpcx", "-"])
  func contentTypeRefused(type: String) async throws {
    let answer = try await call(
      Echo.unary.path,
      ["content-type": type],
      [RawClient.frame([1])]
    )
    #expect(answer.headers[":status"] == "415")
    #expect(answer.status == "3")
    let shown = type == "-" ? "" : type
    #expect(answer.message == "invalid gRPC request content-type \"\(shown)\"")
  }

  @Test func methodMustBePost() async throws {
    let answer = try await call(Echo.unary.path, [":method": "PUT"], [RawClient.frame([1])])
    #expect(answer.headers[":status"] == "405")
    #expect(answer.status == "13")
    #expect(
      answer.message == "Received a HEADERS frame with :method \"PUT\" which should be POST"
    )
  }

  @Test func unknownEncoding() async throws {
    let answer = try await call(
      Echo.unary.path,
      ["grpc-encoding": "snappy"],
      [RawClient.frame([1], flag: 1)]
    )
    #expect(answer.status == "12")
    #expect(
      answer.message == "grpc: Decompressor is not installed for grpc-encoding \"snappy\""
    )
    #expect(answer.headers["grpc-accept-encoding"] == "identity,gzip")
  }

  @Test func compressedWithoutEncoding() async throws {
    let answer = try await call(Echo.unary.path, [:], [RawClient.frame([1], flag: 1)])
    #expect(answer.status == "13")
    #expect(answer.message == "grpc: compressed flag set with identity or empty encoding")
  }

  @Test func brokenGzip() async throws {
    let answer = try await call(
      Echo.unary.path,
      ["grpc-encoding": "gzip"],
      [RawClient.frame([1, 2, 3], flag: 1)]
    )
    #expect(answer.status == "13")
    #expect(answer.message == "grpc: failed to decompress the received message")
  }

  @Test func uncompressedMessageUnderGzip() async throws {
    let answer = try await call(
      Echo.unary.path,
      ["grpc-encoding": "gzip"],
      [RawClient.frame([1])]
    )
    #expect(answer.body == RawClient.frame([1]))
  }

  @Test func unknownFlag() async throws {
    let answer = try await call(Echo.unary.path, [:], [RawClient.frame([1], flag: 9)])
    #expect(answer.status == "13")
    #expect(answer.message == "grpc: received unexpected payload format 9")
  }

  @Test func announcedLengthOverTheLimitEndsTheCallAtOnce() async throws {
    let answer = try await call(
      Echo.unary.path,
      [:],
      [[0, 0xFF, 0xFF, 0xFF, 0xFF]],
      endStream: false
    )
    #expect(answer.status == "8")
    #expect(answer.message == "grpc: received message larger than max (4294967295 vs. 2097152)")
  }

  @Test func unaryWithoutMessage() async throws {
    let answer = try await call(Echo.unary.path, [:], [])
    #expect(answer.status == "13")
    #expect(
      answer.message
        == "cardinality violation: received no request message from non-client-streaming RPC"
    )
  }

  @Test(arguments: [true, false])
  func unaryWithTwoMessages(isInOneFrame: Bool) async throws {
    let frames = [RawClient.frame([1]), RawClient.frame([2])]
    let answer = try await call(
      Echo.hang.path,
      [:],
      isInOneFrame ? [frames[0] + frames[1]] : frames
    )
    #expect(answer.status == "13")
    #expect(
      answer.message
        == "cardinality violation: received multiple request messages for non-client-streaming RPC"
    )
  }

  @Test(arguments: [1, 4, 5, 7])
  func streamThatEndsWithinAMessage(length: Int) async throws {
    let frame = [UInt8](RawClient.frame([1, 2, 3])[..<length])
    for path in [Echo.unary.path, Echo.collect.path] {
      let answer = try await call(path, [:], [frame])
      #expect(answer.status == "13", "\(path)")
      #expect(answer.message == "unexpected EOF")
    }
  }

  @Test(arguments: ["5", "5s", "x", "123456789S"])
  func malformedTimeout(text: String) async throws {
    let answer = try await call(
      Echo.unary.path,
      ["grpc-timeout": text],
      [RawClient.frame([1])]
    )
    #expect(answer.status == "13")
    #expect(answer.message == "malformed grpc-timeout: \(text)")
  }

  @Test func timeoutOfZero() async throws {
    let answer = try await call(Echo.unary.path, ["grpc-timeout": "0m"], [RawClient.frame([1])])
    #expect(answer.status == "4")
    #expect(answer.message == "context deadline exceeded")
  }

  @Test func tooMuchMetadata() async throws {
    let answer = try await call(
      Echo.unary.path,
      ["custom": String(repeating: "v", count: 17_000)],
      [RawClient.frame([1])]
    )
    #expect(answer.status == "8")
    #expect(answer.message == "request metadata larger than max (16384)")
  }

  @Test func answerBeforeTheRequestEnded() async throws {
    let answer = try await call(
      Echo.unary.path,
      [:],
      [RawClient.frame([5])],
      endStream: false
    )
    #expect(answer.body == RawClient.frame([5]))
    #expect(answer.status == "0")
  }

  @Test func lateRequestIsGivenUp() async throws {
    var configuration = RPCServerConfiguration()
    configuration.requestArrivalTimeout = .milliseconds(400)
    let answer = try await call(
      Echo.unary.path,
      [:],
      [[0, 0, 0]],
      endStream: false,
      configuration: configuration
    )
    #expect(answer.status == "4")
    #expect(answer.message == "request did not arrive in full in time")
  }

  @Test func unfinishedMessagesAreBounded() async throws {
    var configuration = RPCServerConfiguration()
    configuration.partialBytesPerConnectionMax = 100_000
    try await withServer(configuration) { fixture in
      let raw = try await fixture.makeRaw()
      let piece = [0, 0, 0x1F, 0, 0] + [UInt8](repeating: 1, count: 60_000)
      let request = RawClient.headers(Echo.unary.path)
      await withTaskGroup(of: Answer.self) { group in
        for _ in 0..<2 {
          group.addTask { await raw.call(request, [piece], endStream: false) }
        }
        // One of the two has to go, the other waits for its rest.
        let refused = await group.next()
        #expect(refused?.status == "8")
        #expect(refused?.message == "grpc: too many unfinished messages on a connection")
        await raw.close()
        #expect(await group.next()?.status == nil)
      }
    }
  }
}

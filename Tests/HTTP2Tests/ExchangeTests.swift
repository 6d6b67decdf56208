import Base
import HTTP2
import Testing

@Suite("Requests and answers between two sessions")
struct ExchangeTests {
  @Test func unaryCall() throws {
    let pair = SessionPair()
    pair.echo()
    let id = try #require(pair.send([1, 2, 3]))
    pair.pump()
    let asked = try #require(pair.serverSide.seen[id])
    #expect(asked.blocks == [Blocks.requestText])
    #expect(asked.body == [1, 2, 3])
    #expect(asked.endCount == 1)
    #expect(asked.closedCodes == [0])
    let answered = try #require(pair.clientSide.seen[id])
    #expect(answered.blocks == [Blocks.responseText, Blocks.trailersText])
    #expect(answered.body == [1, 2, 3])
    #expect(answered.endCount == 1)
    #expect(answered.closedCodes == [0])
    #expect(pair.client.liveStreamCount == 0)
    #expect(pair.server.liveStreamCount == 0)
    #expect(pair.server.bufferedBytes == 0)
    #expect(pair.serverSide.turnCount > 0)
  }

  @Test func unaryAnswerIsThreeFrames() throws {
    let pair = SessionPair()
    pair.echo()
    pair.pump()
    try #require(pair.send([1, 2, 3]) != nil)
    pair.carry(from: pair.client, to: pair.server)
    let frames = Raw.parse(pair.server.drain(now: pair.now))
    #expect(frames.map(\.type) == [Raw.headers, Raw.data, Raw.headers])
    #expect(frames.map(\.flags) == [Raw.endHeaders, 0, Raw.endHeaders | Raw.endStream])
  }

  @Test func manyStreamsAtOnce() {
    let pair = SessionPair()
    pair.echo()
    pair.pump()
    for round in 0..<5 {
      var ids: [Int32: [UInt8]] = [:]
      for index in 0..<600 {
        let body = Array("\(round)/\(index)".utf8)
        if let id = pair.send(body) { ids[id] = body }
      }
      #expect(ids.count == 600)
      pair.pump()
      for (id, body) in ids {
        #expect(pair.clientSide.seen[id]?.body == body)
        #expect(pair.clientSide.seen[id]?.closedCodes == [0])
      }
    }
    #expect(pair.server.liveStreamCount == 0)
  }

  @Test func peersLimitOfStreams() {
    var server = HTTP2Configuration()
    server.concurrentStreamsMax = 3
    let pair = SessionPair(server: server)
    pair.pump()
    let ids = (0..<5).map { _ in pair.send([1]) }
    #expect(ids.map { $0 != nil } == [true, true, true, false, false])
    pair.echo()
    pair.pump()
    #expect(pair.send([1]) != nil)
  }

  /// nghttp2 says twice of such a request that it is over: as one that was not sent, and as a stream
  /// that closes. The second time the stream's memory is another's.
  @Test(arguments: [0, 256]) func requestsTakenBackBeforeTheyWereSent(pooledStreams: Int) throws {
    var client = HTTP2Configuration()
    client.pooledStreamsMax = pooledStreams
    let pair = SessionPair(client: client)
    pair.echo()
    pair.pump()
    for round in 1...10 {
      // Nobody holds the streams: their memory goes with them.
      let ids = (0..<50).compactMap { _ -> Int32? in
        guard let stream = pair.client.openStream(Blocks.request, endStream: false) else {
          return nil
        }
        pair.client.reset(stream, errorCode: 8)
        return stream.id
      }
      #expect(ids.count == 50)
      let kept = try #require(pair.send([UInt8(round)]))
      pair.pump()
      for id in ids { #expect(pair.clientSide.seen[id]?.closedCodes.count == 1) }
      #expect(pair.clientSide.seen[kept]?.body == [UInt8(round)])
      #expect(pair.client.liveStreamCount == 0)
    }
  }

  @Test func trailersOnly() throws {
    let pair = SessionPair()
    pair.serverSide.onHeaders = { stream, _ in
      pair.server.sendHeaders(
        stream,
        HeaderBlock([(":status", "200"), ("grpc-status", "12")]),
        endStream: true
      )
    }
    let id = try #require(pair.send([1]))
    pair.pump()
    let answered = try #require(pair.clientSide.seen[id])
    #expect(answered.blocks == ["response end: :status=200 grpc-status=12"])
    #expect(answered.endCount == 1)
    #expect(answered.closedCodes == [0])
  }

  @Test func streamingBothWays() throws {
    let pair = SessionPair()
    pair.serverSide.onHeaders = { stream, _ in
      pair.server.sendHeaders(stream, Blocks.response, endStream: false)
    }
    pair.serverSide.onData = { stream, bytes in pair.server.write(stream, bytes) }
    pair.serverSide.onEnd = { stream in pair.server.sendTrailers(stream, Blocks.trailers) }
    let stream = try #require(pair.client.openStream(Blocks.request, endStream: false))
    let id = stream.id
    for step in 0..<10 {
      pair.client.write(stream) { $0.append(byte: UInt8(step)) }
      pair.pump()
      #expect(pair.clientSide.seen[id]?.body.count == step + 1)
    }
    #expect(pair.clientSide.seen[id]?.endCount == 0)
    pair.client.endStream(stream)
    let frames = { pair.carry(from: pair.client, to: pair.server) }
    #expect(frames() > 0)
    let last = Raw.parse(pair.server.drain(now: pair.now))
    #expect(last.map(\.type) == [Raw.headers], "no empty DATA before the trailers")
  }

  @Test func bodyOfCopiesAndBlocksKeepsItsOrder() throws {
    let pair = SessionPair()
    var expected: [UInt8] = []
    pair.serverSide.onEnd = { stream in
      pair.server.sendHeaders(stream, Blocks.response, endStream: false)
      for (index, size) in [5, 100_000, 3, 20, 9_000, 70_000, 1, 8_192].enumerated() {
        let piece = [UInt8](repeating: UInt8(index + 1), count: size)
        expected += piece
        if index % 2 == 0 {
          piece.withUnsafeBytes { pair.server.write(stream, $0) }
        } else {
          pair.server.write(stream, SharedBytes(piece))
        }
      }
      #expect(stream.bufferedBytes == expected.count)
      pair.server.sendTrailers(stream, Blocks.trailers)
    }
    let id = try #require(pair.send([]))
    pair.pump()
    #expect(pair.clientSide.seen[id]?.body == expected)
    #expect(pair.clientSide.seen[id]?.closedCodes == [0])
  }

  @Test func informationalResponseComesFirst() throws {
    let client = RawClientSession()
    let stream = try #require(client.session.openStream(Blocks.request, endStream: true))
    let id = stream.id
    client.receive(
      Raw.frame(Raw.settings)
        + Raw.frame(
          Raw.headers,
          flags: Raw.endHeaders,
          stream: id,
          Raw.fields([(":status", "103")])
        )
        + Raw.frame(
          Raw.headers,
          flags: Raw.endHeaders,
          stream: id,
          Raw.fields([(":status", "200")])
        )
        + Raw.frame(
          Raw.headers,
          flags: Raw.endHeaders | Raw.endStream,
          stream: id,
          Raw.fields([("grpc-status", "0")])
        )
    )
    #expect(
      client.side.seen[id]?.blocks == [
        "informational: :status=103", "response: :status=200", "trailers end: grpc-status=0",
      ]
    )
  }

  @Test func earlyAnswerStopsTheRequest() throws {
    let pair = SessionPair()
    pair.serverSide.onHeaders = { stream, _ in
      pair.server.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) {
        $0.append(byte: 1)
      }
    }
    let stream = try #require(pair.client.openStream(Blocks.request, endStream: false))
    let id = stream.id
    pair.pump()
    #expect(pair.clientSide.seen[id]?.blocks.count == 2)
    #expect(pair.clientSide.seen[id]?.endCount == 1)
    #expect(pair.clientSide.seen[id]?.closedCodes == [0])
    #expect(pair.serverSide.seen[id]?.closedCodes == [0])
  }

  @Test func resetByTheClient() throws {
    let pair = SessionPair()
    pair.serverSide.onHeaders = { stream, _ in
      pair.server.sendHeaders(stream, Blocks.response, endStream: false)
    }
    let stream = try #require(pair.client.openStream(Blocks.request, endStream: true))
    let id = stream.id
    pair.pump()
    pair.client.reset(stream, errorCode: 8)
    pair.client.reset(stream, errorCode: 8)
    pair.pump()
    #expect(pair.serverSide.seen[id]?.closedCodes == [8])
    #expect(pair.clientSide.seen[id]?.closedCodes == [8])
    #expect(pair.server.stream(withID: id) == nil)
  }

  @Test func resetByTheServer() throws {
    let pair = SessionPair()
    pair.serverSide.onEnd = { stream in pair.server.reset(stream, errorCode: 2) }
    let id = try #require(pair.send([1]))
    pair.pump()
    #expect(pair.clientSide.seen[id]?.closedCodes == [2])
    #expect(pair.clientSide.seen[id]?.endCount == 0)
    #expect(pair.serverSide.seen[id]?.closedCodes == [2])
  }

  @Test func callsOnAClosedStreamAreDropped() throws {
    let pair = SessionPair()
    pair.echo()
    let stream = try #require(pair.client.openStream(Blocks.request, endStream: true))
    pair.pump()
    let before = pair.client.drain(now: pair.now).count
    pair.client.write(stream) { $0.append(byte: 1) }
    pair.client.endStream(stream)
    pair.client.reset(stream, errorCode: 8)
    pair.client.consume(stream, 5)
    pair.client.sendTrailers(stream, Blocks.trailers)
    #expect(before == 0)
    #expect(pair.client.drain(now: pair.now).isEmpty)
    #expect(stream.bufferedBytes == 0)
  }

  @Test func tagIsFreshForEachStream() throws {
    let pair = SessionPair()
    var tags: [Int] = []
    pair.echo()
    pair.serverSide.onHeaders = { stream, _ in
      tags.append(stream.tag)
      stream.tag = 5
    }
    for _ in 0..<3 {
      try #require(pair.send([1]) != nil)
      pair.pump()
    }
    #expect(tags == [0, 0, 0])
  }

  @Test func streamIsFoundByItsNumber() throws {
    let pair = SessionPair()
    let stream = try #require(pair.client.openStream(Blocks.request, endStream: false))
    #expect(pair.client.stream(withID: stream.id) === stream)
    pair.pump()
    #expect(pair.client.stream(withID: stream.id) === stream)
    #expect(pair.server.stream(withID: stream.id)?.id == stream.id)
    #expect(pair.server.stream(withID: stream.id + 2) == nil)
  }

  private static let head = [
    (":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "h"),
  ]

  private static let malformedHeads: [[(String, String)]] = [
    [(":method", "GET"), ("Upper", "x")],
    head + [("Upper", "x")],
    Array(head[1...]),
    [head[0], head[2], head[3]],
    [head[0], head[1], head[3]],
    head + [(":path", "/a.B/C")],
    head + [("te", "trailers"), (":method", "POST")],
    head + [(":protocol", "x")],
    head + [(":status", "200")],
    head + [("te", "gzip")],
    head + [("connection", "close")],
    head + [("keep-alive", "1")],
    head + [("proxy-connection", "close")],
    head + [("transfer-encoding", "chunked")],
    head + [("upgrade", "x")],
    head + [("content-length", "3")],
    head + [("content-length", "x")],
    head + [("content-length", "0"), ("content-length", "0")],
    head + [("", "x")],
    [head[0], head[1], (":path", ""), head[3]],
    [head[0], head[1], (":path", "a.B/C"), head[3]],
    [head[0], head[1], head[2], (":authority", "h\n")],
  ]

  @Test(arguments: malformedHeads)
  func malformedHeadersNeverReachTheDelegate(_ fields: [(String, String)]) {
    let server = RawServer()
    server.send(
      Raw.frame(
        Raw.headers,
        flags: Raw.endHeaders | Raw.endStream,
        stream: 1,
        Raw.fields(fields)
      )
    )
    #expect(server.side.seen[1]?.blocks == nil)
    #expect(server.side.endCount == 0)
    let resets = server.frames().filter { $0.type == Raw.resetStream }
    #expect(resets.map(\.errorCode) == [1])
    #expect(server.session.liveStreamCount == 0)
  }

  /// etcdctl 3.4 names its endpoint as it was given; what nobody can read is left out.
  @Test func oddHeadersThatAreTaken() throws {
    let server = RawServer()
    let fields =
      Self.head[..<3] + [
        (":authority", "http://127.0.0.1:2379"), ("te", "Trailers"), ("content-length", "0"),
        ("odd name", "x"), ("odd-value", "a\u{1}b"), ("blank", " x"), ("kept", "a b"),
        ("empty", ""),
      ]
    server.send(
      Raw.frame(
        Raw.headers,
        flags: Raw.endHeaders | Raw.endStream,
        stream: 1,
        Raw.fields(Array(fields))
      )
    )
    let blocks = try #require(server.side.seen[1]?.blocks)
    #expect(blocks.count == 1)
    #expect(blocks[0].contains(":authority=http://127.0.0.1:2379"))
    #expect(blocks[0].contains("kept=a b"))
    #expect(!blocks[0].contains("odd") && !blocks[0].contains("blank"))
    #expect(server.side.endCount == 1)
  }

  /// A body that is longer or shorter than was said, and trailers that are none.
  @Test func malformedRests() {
    let length = Raw.fields(Self.head + [("content-length", "2")])
    let none = Raw.fields(Self.head)
    let end = Raw.endHeaders | Raw.endStream
    let rests: [([UInt8], [UInt8])] = [
      (length, Raw.frame(Raw.data, flags: Raw.endStream, stream: 1, [1])),
      (length, Raw.frame(Raw.data, flags: Raw.endStream, stream: 1, [1, 2, 3])),
      (length, Raw.frame(Raw.headers, flags: end, stream: 1, Raw.fields([("x", "y")]))),
      (none, Raw.frame(Raw.headers, flags: Raw.endHeaders, stream: 1, Raw.fields([("x", "y")]))),
      (none, Raw.frame(Raw.headers, flags: end, stream: 1, Raw.fields([(":path", "/")]))),
    ]
    for (head, rest) in rests {
      let server = RawServer()
      server.send(Raw.frame(Raw.headers, flags: Raw.endHeaders, stream: 1, head) + rest)
      #expect(server.side.endCount == 0)
      let resets = server.frames().filter { $0.type == Raw.resetStream }
      #expect(resets.map(\.errorCode) == [1])
    }
  }

  @Test func dynamicValuesNeedNotBeText() throws {
    let pair = SessionPair()
    pair.serverSide.onEnd = { stream in
      pair.server.sendHeaders(stream, Blocks.response, endStream: false)
      pair.server.sendTrailers(
        stream,
        HeaderBlock([(name: "grpc-message", value: [0x61, 0xe9])])
      )
    }
    let id = try #require(pair.send([]))
    pair.pump()
    #expect(
      pair.clientSide.seen[id]?.blocks.last?.hasPrefix("trailers end: grpc-message=a") == true
    )
  }
}

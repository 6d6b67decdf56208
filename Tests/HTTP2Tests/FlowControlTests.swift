import Base
import HTTP2
import Testing

@Suite("Flow control")
struct FlowControlTests {
  private static func small() -> HTTP2Configuration {
    var configuration = HTTP2Configuration()
    configuration.initialWindowBytes = 10_000
    configuration.connectionWindowBytes = 1 << 16
    return configuration
  }

  private static func body(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  }

  @Test(arguments: [20 << 10, 777, 64])
  func tenMegabytesThroughSmallWindows(pieceBytes: Int) throws {
    let pair = SessionPair(client: Self.small(), server: Self.small())
    // Pieces of input cost no correctness; the small ones get a smaller body for time's sake.
    let body = Self.body(pieceBytes < 1_000 ? 1 << 20 : 10 << 20)
    pair.pieceBytes = pieceBytes
    pair.echo()
    let id = try #require(pair.send(body))
    pair.pump()
    #expect(pair.serverSide.seen[id]?.body == body)
    #expect(pair.clientSide.seen[id]?.body == body)
    #expect(pair.clientSide.seen[id]?.closedCodes == [0])
    #expect(pair.client.bufferedBytes == 0)
    #expect(pair.server.bufferedBytes == 0)
  }

  /// A write that fails between two calls of `produce` closes the session under a DATA frame that
  /// nghttp2 has begun.
  @Test func nothingIsProducedAfterTheEnd() throws {
    let pair = SessionPair()
    pair.pump()
    let id = try #require(pair.send(Self.body(60_000)))
    var room = [UInt8](repeating: 0, count: 20 << 10)
    let first = room.withUnsafeMutableBytes { pair.client.produce(into: $0, now: pair.now) }
    #expect(first > 0)
    #expect(pair.client.hasMoreOutput)
    pair.client.close(.finished)
    let second = room.withUnsafeMutableBytes { pair.client.produce(into: $0, now: pair.now) }
    #expect(second == 0)
    #expect(!pair.client.hasMoreOutput)
    #expect(pair.clientSide.seen[id]?.closedCodes.count == 1)
  }

  @Test func slowConsumerStopsTheSender() throws {
    let pair = SessionPair(server: Self.small())
    pair.serverSide.consumesAtOnce = false
    let body = Self.body(100_000)
    pair.pump()
    let id = try #require(pair.send(body))
    pair.pump()
    #expect(pair.serverSide.bodyBytes == 10_000)
    #expect(pair.client.bufferedBytes == 90_000)
    let stream = try #require(pair.server.stream(withID: id))
    #expect(stream.unconsumedBytes == 10_000)
    pair.server.consume(stream, 6_000)
    pair.pump()
    #expect(pair.serverSide.bodyBytes > 10_000)
    #expect(pair.serverSide.bodyBytes <= 16_000)
    while stream.unconsumedBytes > 0 {
      pair.server.consume(stream, stream.unconsumedBytes)
      pair.pump()
    }
    #expect(pair.serverSide.seen[id]?.body == body)
    #expect(pair.serverSide.seen[id]?.endCount == 1)
  }

  @Test func oneStreamDoesNotStopAnother() throws {
    let pair = SessionPair(server: Self.small())
    pair.serverSide.consumesAtOnce = false
    pair.pump()
    let first = try #require(pair.send(Self.body(50_000)))
    pair.pump()
    let second = try #require(pair.send(Self.body(9_000)))
    pair.pump()
    #expect(pair.serverSide.seen[first]?.body.count == 10_000)
    #expect(pair.serverSide.seen[second]?.body.count == 9_000)
    #expect(pair.serverSide.seen[second]?.endCount == 1)
  }

  /// Bytes that nobody consumed must not be lost to the connection when their stream closes.
  @Test func unreadBytesComeBackWhenTheirStreamCloses() throws {
    let pair = SessionPair(server: Self.small())
    pair.serverSide.consumesAtOnce = false
    pair.pump()
    for round in 0..<40 {
      let id = try #require(pair.send(Self.body(50_000)))
      pair.pump()
      #expect(pair.serverSide.seen[id]?.body.count == 10_000, "round \(round)")
      let stream = try #require(pair.client.stream(withID: id))
      pair.client.reset(stream, errorCode: 8)
      pair.pump()
    }
    #expect(pair.client.bufferedBytes == 0)
  }

  @Test func watermarksAreReportedOnce() throws {
    var server = HTTP2Configuration()
    server.streamBufferedBytesHigh = 40_000
    server.streamBufferedBytesLow = 15_000
    let pair = SessionPair(client: Self.small(), server: server)
    pair.clientSide.consumesAtOnce = false
    pair.serverSide.onHeaders = { stream, _ in
      pair.server.sendHeaders(stream, Blocks.response, endStream: false)
      pair.server.write(stream, SharedBytes(Self.body(39_999)))
      #expect(stream.isWritable)
      pair.server.write(stream) { $0.append(byte: 1) }
      #expect(!stream.isWritable)
    }
    let asked = try #require(pair.client.openStream(Blocks.request, endStream: false))
    let id = asked.id
    pair.pump()
    let stream = try #require(pair.server.stream(withID: id))
    #expect(stream.bufferedBytes == 30_000)
    #expect(pair.serverSide.seen[id]?.writableCount == 0)
    for _ in 0..<4 {
      pair.client.consume(asked, asked.unconsumedBytes)
      pair.pump()
    }
    #expect(stream.isWritable)
    #expect(stream.bufferedBytes == 0)
    #expect(pair.serverSide.seen[id]?.writableCount == 1)
  }

  @Test func writesFromStreamWritableGoOut() throws {
    var server = HTTP2Configuration()
    server.streamBufferedBytesHigh = 30_000
    server.streamBufferedBytesLow = 10_000
    let pair = SessionPair(server: server)
    var left = 50
    let fill = { (stream: HTTP2Stream) in
      while left > 0, stream.isWritable {
        left -= 1
        pair.server.write(stream, SharedBytes(Self.body(12_000)))
      }
      if left == 0 { pair.server.sendTrailers(stream, Blocks.trailers) }
    }
    pair.serverSide.onEnd = { stream in
      pair.server.sendHeaders(stream, Blocks.response, endStream: false)
      fill(stream)
    }
    pair.serverSide.onWritable = fill
    let id = try #require(pair.send([]))
    pair.pump()
    #expect(left == 0)
    #expect(pair.clientSide.seen[id]?.body.count == 600_000)
    #expect(pair.clientSide.seen[id]?.closedCodes == [0])
  }

  @Test(arguments: [17 << 10, 1_100, 300])
  func littleRoomForOutput(roomBytes: Int) throws {
    let pair = SessionPair()
    pair.echo()
    let body = Self.body(200_000)
    let id = try #require(pair.send(body))
    pair.pump()
    var output: [UInt8] = []
    let second = try #require(pair.send(body))
    // Room that is too small for a frame brings nothing and says so; then enough is given.
    for _ in 0..<100_000 {
      var room = [UInt8](repeating: 0, count: roomBytes)
      let count = room.withUnsafeMutableBytes { pair.client.produce(into: $0, now: pair.now) }
      output += room[..<count]
      if count == 0 {
        guard pair.client.hasMoreOutput else { break }
        var large = [UInt8](repeating: 0, count: 17 << 10)
        let more = large.withUnsafeMutableBytes { pair.client.produce(into: $0, now: pair.now) }
        #expect(more > 0)
        output += large[..<more]
      }
    }
    pair.server.receivePieces(output, pieceBytes: 4_096, now: pair.now)
    pair.pump()
    #expect(pair.clientSide.seen[id]?.body == body)
    #expect(pair.clientSide.seen[second]?.body == body)
  }
}

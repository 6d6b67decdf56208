import Base
import HTTP2
import NIOCore
import NIOEmbedded
import Testing

/// A server connection in an embedded channel, with a hand-made client.
private final class Served {
  let loop = EmbeddedEventLoop()
  let channel: EmbeddedChannel
  let side = Recorder()
  let connection: HTTP2Connection

  init(_ configuration: HTTP2Configuration = .default) throws {
    connection = HTTP2Connection(role: .server, configuration: configuration, delegate: side)
    side.connection = connection
    channel = EmbeddedChannel(handler: connection, loop: loop)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
  }

  func send(_ bytes: [UInt8]) throws {
    try channel.writeInbound(ByteBuffer(bytes: bytes))
  }

  /// Frames written since the last call, one list per write.
  func writes() throws -> [[Raw.Frame]] {
    var all: [[Raw.Frame]] = []
    while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
      all.append(Raw.parse(Array(buffer.readableBytesView)))
    }
    return all
  }

  func start() throws {
    try send(Raw.start + Raw.frame(Raw.settings, flags: Raw.ack))
    _ = try writes()
  }

  func answer() {
    side.onEnd = { [unowned self] stream in
      connection.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) {
        $0.append(byte: 7)
      }
    }
  }
}

@Suite("The channel handler")
struct ConnectionTests {
  @Test func settingsGoOutAtOnce() throws {
    let served = try Served()
    let frames = try served.writes().flatMap { $0 }
    #expect(frames.map(\.type) == [Raw.settings, Raw.windowUpdate])
  }

  @Test func startsWhenAddedToAnActiveChannel() throws {
    let loop = EmbeddedEventLoop()
    let channel = EmbeddedChannel(loop: loop)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    let side = Recorder()
    try channel.pipeline.syncOperations.addHandler(HTTP2Connection(role: .server, delegate: side))
    let first = try channel.readOutbound(as: ByteBuffer.self)
    #expect(first.map { Raw.parse(Array($0.readableBytesView)).first?.type } == Raw.settings)
  }

  @Test func endsWithoutHavingStarted() throws {
    let channel = EmbeddedChannel()
    let side = Recorder()
    try channel.pipeline.syncOperations.addHandler(HTTP2Connection(role: .client, delegate: side))
    _ = try channel.finish(acceptAlreadyClosed: true)
    #expect(side.closeReasons == [.peerClosed])
  }

  @Test func oneWritePerReadTurn() throws {
    let served = try Served()
    served.answer()
    try served.start()
    try served.send(Raw.request(1) + Raw.request(3) + Raw.request(5))
    let writes = try served.writes()
    #expect(writes.count == 1)
    #expect(writes.first?.filter { $0.type == Raw.data }.map(\.stream) == [1, 3, 5])
    #expect(served.side.turnCount == 2)
  }

  @Test func oneWritePerTickOutsideReads() throws {
    let served = try Served()
    var waiting: [HTTP2Stream] = []
    served.side.onEnd = { waiting.append($0) }
    try served.start()
    try served.send(Raw.request(1) + Raw.request(3))
    #expect(try served.writes().isEmpty)
    for stream in waiting {
      served.connection.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) {
        $0.append(byte: 1)
      }
    }
    #expect(try served.writes().isEmpty)
    served.loop.run()
    #expect(try served.writes().count == 1)
    #expect(served.connection.liveStreamCount == 0)
  }

  @Test func flushNowNeedsNoTick() throws {
    let served = try Served()
    var waiting: [HTTP2Stream] = []
    served.side.onEnd = { waiting.append($0) }
    try served.start()
    try served.send(Raw.request(1))
    served.connection.respond(
      try #require(waiting.first),
      headers: Blocks.response,
      trailers: Blocks.trailers
    ) { $0.append(byte: 1) }
    served.connection.flushNow()
    #expect(try served.writes().count == 1)
    served.loop.run()
    #expect(try served.writes().isEmpty)
  }

  @Test func unwritableSocketStopsFraming() throws {
    let served = try Served()
    served.side.onEnd = { stream in
      served.connection.sendHeaders(stream, Blocks.response, endStream: false)
      served.connection.write(stream, SharedBytes([UInt8](repeating: 3, count: 1 << 20)))
      served.connection.sendTrailers(stream, Blocks.trailers)
    }
    try served.start()
    try served.send(Raw.window(0, 1 << 24))
    served.channel.isWritable = false
    served.channel.pipeline.fireChannelWritabilityChanged()
    try served.send(
      Raw.frame(Raw.settings, [0, 4] + UInt32(1 << 24).bigEndianBytes) + Raw.request(1)
    )
    #expect(try served.writes().isEmpty)
    #expect(served.connection.bufferedBytes == 1 << 20)
    served.channel.isWritable = true
    served.channel.pipeline.fireChannelWritabilityChanged()
    let frames = try served.writes().flatMap { $0 }
    let bytes = frames.filter { $0.type == Raw.data }.reduce(0) { $0 + $1.payload.count }
    #expect(bytes == 1 << 20)
    #expect(frames.last?.type == Raw.headers)
    #expect(served.connection.bufferedBytes == 0)
  }

  @Test func peerThatNeverReadsIsCutOff() throws {
    var configuration = HTTP2Configuration()
    configuration.keepalive.pingStrikesMax = .max
    configuration.floodLimits.controlFramesBurst = 1 << 20
    let served = try Served(configuration)
    try served.start()
    served.channel.isWritable = false
    served.channel.pipeline.fireChannelWritabilityChanged()
    let ping = Raw.frame(Raw.ping, [1, 2, 3, 4, 5, 6, 7, 8])
    var count = 0
    while served.side.closeReasons.isEmpty, count < 100_000 {
      try served.send(ping)
      count += 1
    }
    #expect(count < 2_000)
    #expect(served.side.closeReasons == [.abuse(.unreadAnswers)])
  }

  @Test func handshakeTimeout() throws {
    let served = try Served()
    served.loop.advanceTime(by: .milliseconds(9_999))
    #expect(served.channel.isActive)
    served.loop.advanceTime(by: .milliseconds(1))
    #expect(served.side.closeReasons == [.handshakeTimeout])
    served.loop.advanceTime(by: .seconds(1))
    #expect(!served.channel.isActive)
  }

  @Test func silentPeerIsPingedThenClosed() throws {
    let served = try Served()
    try served.start()
    served.loop.advanceTime(by: .hours(1))
    try served.send(Raw.frame(Raw.ping, flags: Raw.ack, [0, 0, 0, 0, 0, 0, 0, 0]))
    served.loop.advanceTime(by: .minutes(119))
    #expect(try served.writes().isEmpty)
    served.loop.advanceTime(by: .minutes(1))
    #expect(try served.writes().flatMap { $0 }.map(\.type) == [Raw.ping])
    served.loop.advanceTime(by: .seconds(19))
    #expect(served.side.closeReasons.isEmpty)
    served.loop.advanceTime(by: .seconds(1))
    #expect(served.side.closeReasons == [.keepaliveTimeout])
  }

  @Test func gracefulShutdownClosesTheChannel() throws {
    let served = try Served()
    var waiting: [HTTP2Stream] = []
    served.side.onEnd = { waiting.append($0) }
    try served.start()
    try served.send(Raw.request(1))
    served.connection.shutdownGracefully()
    served.loop.advanceTime(by: .seconds(1))
    #expect(try served.writes().flatMap { $0 }.filter { $0.type == Raw.goAway }.count == 2)
    #expect(served.channel.isActive)
    served.connection.respond(
      try #require(waiting.first),
      headers: Blocks.response,
      trailers: Blocks.trailers
    ) { $0.append(byte: 1) }
    served.loop.advanceTime(by: .seconds(1))
    #expect(try served.writes().flatMap { $0 }.map(\.type) == [Raw.headers, Raw.data, Raw.headers])
    #expect(served.side.closeReasons == [.finished])
    #expect(!served.channel.isActive)
  }

  @Test func closeFromWithinACallback() throws {
    let served = try Served()
    served.side.onHeaders = { _, _ in served.connection.closeNow(errorCode: 2) }
    try served.start()
    try served.send(Raw.request(1) + Raw.request(3))
    let last = try served.writes().last?.last
    #expect(last?.type == Raw.goAway)
    #expect(last?.errorCode == 2)
    #expect(served.side.seen[3] == nil)
    #expect(served.side.seen[1]?.closedCodes == [8])
    #expect(served.side.closeReasons == [.closedLocally(errorCode: 2)])
  }

  @Test func channelClosedFromWithinACallback() throws {
    let served = try Served()
    served.side.onHeaders = { _, _ in served.channel.close(promise: nil) }
    try served.start()
    try served.send(Raw.request(1) + Raw.request(3))
    served.loop.run()
    #expect(served.side.closeReasons == [.peerClosed])
    #expect(served.side.seen[1]?.closedCodes == [8])
  }

  @Test func callsAfterTheEndAreDropped() throws {
    let served = try Served()
    var kept: HTTP2Stream?
    served.side.onEnd = { kept = $0 }
    try served.start()
    try served.send(Raw.request(1))
    _ = try served.channel.finish(acceptAlreadyClosed: true)
    let stream = try #require(kept)
    let connection = served.connection
    connection.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) { _ in
      Issue.record("asked for a body")
    }
    connection.write(stream) { _ in Issue.record("asked for a body") }
    connection.consume(stream, 10)
    connection.reset(stream, errorCode: 0)
    connection.flushNow()
    connection.shutdownGracefully()
    connection.closeNow()
    #expect(connection.stream(withID: 1) == nil)
    #expect(connection.openStream(Blocks.request, endStream: true) == nil)
    #expect(served.side.closeReasons == [.peerClosed])
  }

  @Test func closingFreesEverything() throws {
    weak var side: Recorder?
    weak var connection: HTTP2Connection?
    weak var stream: HTTP2Stream?
    weak var pooled: HTTP2Stream?
    try { () throws in
      let served = try Served()
      side = served.side
      connection = served.connection
      served.side.onEnd = { open in
        if open.id == 1 {
          pooled = open
          served.connection.respond(open, headers: Blocks.response, trailers: Blocks.trailers) {
            $0.append(byte: 7)
          }
        } else {
          stream = open
          served.connection.sendHeaders(open, Blocks.response, endStream: false)
          served.connection.write(open, SharedBytes([UInt8](repeating: 1, count: 1 << 20)))
        }
      }
      try served.start()
      try served.send(Raw.request(1))
      try served.send(Raw.request(3))
      #expect(stream != nil)
      #expect(pooled != nil)
      served.side.onEnd = nil
      _ = try served.channel.finish(acceptAlreadyClosed: true)
      served.loop.run()
    }()
    #expect(side == nil)
    #expect(connection == nil)
    #expect(stream == nil)
    #expect(pooled == nil)
  }

  @Test func headerBlocksLiveUntilTheyAreSent() throws {
    let served = try Served()
    served.side.onEnd = { stream in
      served.connection.respond(
        stream,
        headers: HeaderBlock([(":status", "200"), ("x-id", "\(stream.id)")]),
        trailers: HeaderBlock([("grpc-status", "\(stream.id)")])
      ) { $0.append(byte: 1) }
    }
    try served.start()
    let client = RawClientSession()
    let ids = (0..<20).compactMap { _ in
      client.session.openStream(Blocks.request, endStream: true)?.id
    }
    try served.send(Array(client.session.drain(now: client.now).dropFirst(Raw.preface.count)))
    var output: [UInt8] = Raw.frame(Raw.settings)
    while let buffer = try served.channel.readOutbound(as: ByteBuffer.self) {
      output += Array(buffer.readableBytesView)
    }
    client.receive(output)
    #expect(ids.count == 20)
    for id in ids {
      #expect(
        client.side.seen[id]?.blocks == [
          "response: :status=200 x-id=\(id)", "trailers end: grpc-status=\(id)",
        ]
      )
    }
  }
}

import Base
import HTTP2
import NIOCore
import Testing

@Suite("Keepalive, handshake deadline, shutdown")
struct KeepaliveTests {
  private let ping = Raw.frame(Raw.ping, [1, 2, 3, 4, 5, 6, 7, 8])

  /// Sends pings this far apart and returns how many the server took before it cut off.
  private func pings(_ server: RawServer, apart: TimeAmount, count: Int) -> Int {
    for number in 0..<count {
      server.send(ping)
      if server.session.closeReason != nil { return number }
      server.now = server.now + apart
    }
    return count
  }

  @Test func pingsAreAnswered() {
    let server = RawServer()
    server.send(ping)
    let frames = server.frames()
    #expect(frames.map(\.type) == [Raw.ping])
    #expect(frames.map(\.flags) == [Raw.ack])
    #expect(frames.first?.payload == [1, 2, 3, 4, 5, 6, 7, 8])
  }

  @Test func tooManyPingsWithAStream() {
    let server = RawServer()
    server.send(Raw.request(1, flags: Raw.endHeaders))
    // The first is free, then two strikes are forgiven.
    #expect(pings(server, apart: .milliseconds(4_999), count: 10) == 3)
    #expect(server.session.closeReason == .abuse(.pings))
    let goAway = server.frames().last
    #expect(goAway?.errorCode == 11)
    #expect(
      goAway.map { String(decoding: $0.payload.dropFirst(8), as: UTF8.self) } == "too_many_pings"
    )
  }

  @Test func politePingsWithAStream() {
    let server = RawServer()
    server.send(Raw.request(1, flags: Raw.endHeaders))
    #expect(pings(server, apart: .seconds(5), count: 100) == 100)
  }

  @Test func pingsWithoutStreamsNeedFarMoreTime() {
    let server = RawServer()
    #expect(pings(server, apart: .minutes(1), count: 10) == 3)
    let patient = RawServer()
    #expect(pings(patient, apart: .hours(2), count: 10) == 10)
  }

  @Test func answersWipeOutStrikes() {
    let server = RawServer()
    server.answer()
    for number in 0..<50 {
      server.send(Raw.request(Int32(2 * number + 1)))
      _ = server.frames()
      #expect(pings(server, apart: .milliseconds(1), count: 3) == 3)
    }
    #expect(server.session.closeReason == nil)
  }

  @Test func ownPingAfterSilence() throws {
    var configuration = HTTP2Configuration()
    configuration.keepalive.pingInterval = .seconds(60)
    configuration.keepalive.pingTimeout = .seconds(20)
    let server = RawServer(configuration)
    let deadline = try #require(server.session.nextDeadline)
    #expect(deadline == server.now + .seconds(60))
    server.session.timePassed(now: deadline - .nanoseconds(1))
    #expect(server.frames().isEmpty)
    server.session.timePassed(now: deadline)
    #expect(server.frames().map(\.type) == [Raw.ping])
    // An answer keeps the connection.
    server.now = deadline + .seconds(19)
    server.send(Raw.frame(Raw.ping, flags: Raw.ack, [0, 0, 0, 0, 0, 0, 0, 0]))
    server.session.timePassed(now: deadline + .seconds(20))
    #expect(server.session.closeReason == nil)
    // Silence ends it.
    let next = try #require(server.session.nextDeadline)
    #expect(next == deadline + .seconds(79))
    server.session.timePassed(now: next)
    let last = try #require(server.session.nextDeadline)
    #expect(last == next + .seconds(20))
    server.session.timePassed(now: last)
    #expect(server.session.closeReason == .keepaliveTimeout)
    #expect(server.session.isFinished)
  }

  @Test func clientPingsOnlyWithStreams() throws {
    var configuration = HTTP2Configuration()
    configuration.keepalive.pingInterval = .seconds(10)
    configuration.keepalive.pingsWithoutStreams = false
    let pair = SessionPair(client: configuration)
    pair.pump()
    for _ in 0..<3 {
      pair.now = try #require(pair.client.nextDeadline)
      pair.client.timePassed(now: pair.now)
      #expect(pair.client.drain(now: pair.now).isEmpty)
    }
    try #require(pair.client.openStream(Blocks.request, endStream: false) != nil)
    pair.pump()
    pair.now = try #require(pair.client.nextDeadline)
    pair.client.timePassed(now: pair.now)
    #expect(Raw.parse(pair.client.drain(now: pair.now)).map(\.type) == [Raw.ping])
  }

  @Test(arguments: [[], Array(Raw.preface.prefix(10)), Raw.preface])
  func handshakeDeadline(sent: [UInt8]) throws {
    let server = RawServer(isStarted: false)
    server.send(sent)
    let deadline = try #require(server.session.nextDeadline)
    #expect(deadline == server.now + .seconds(10))
    server.session.timePassed(now: deadline - .nanoseconds(1))
    #expect(server.session.closeReason == nil)
    server.session.timePassed(now: deadline)
    #expect(server.session.closeReason == .handshakeTimeout)
  }

  @Test func gracefulShutdownServesWhatRuns() throws {
    let pair = SessionPair()
    var waiting: [HTTP2Stream] = []
    pair.serverSide.onEnd = { waiting.append($0) }
    let first = try #require(pair.send([1]))
    pair.pump()
    pair.server.shutdownGracefully(now: pair.now)
    // A request that crosses the first GOAWAY on the wire is served too.
    let second = try #require(pair.send([2]))
    let notice = pair.server.drain(now: pair.now)
    pair.carry(from: pair.client, to: pair.server)
    pair.client.receivePieces(notice, pieceBytes: 100, now: pair.now)
    pair.pump()
    #expect(pair.clientSide.goAways.count == 2)
    #expect(pair.clientSide.goAways.first == "2147483647 0")
    #expect(pair.clientSide.goAways.last == "\(second) 0")
    #expect(pair.send([3]) == nil)
    #expect(!pair.server.isFinished)
    for stream in waiting {
      pair.server.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) {
        $0.append(byte: 9)
      }
    }
    pair.pump()
    #expect(pair.clientSide.seen[first]?.body == [9])
    #expect(pair.clientSide.seen[second]?.body == [9])
    #expect(pair.server.isFinished)
    #expect(pair.client.isFinished)
    pair.server.close(.peerClosed)
    #expect(pair.serverSide.closeReasons == [.peerClosed])
  }

  @Test func secondGoAwayComesWithoutAnAnswerToo() throws {
    let server = RawServer()
    server.send(Raw.request(1))
    server.session.shutdownGracefully(now: server.now)
    let first = server.frames().filter { $0.type == Raw.goAway }
    #expect(first.map(\.payload) == [[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]])
    let deadline = try #require(server.session.nextDeadline)
    #expect(deadline == server.now + .seconds(1))
    server.session.timePassed(now: deadline)
    let second = server.frames().filter { $0.type == Raw.goAway }
    #expect(second.map(\.payload) == [[0, 0, 0, 1, 0, 0, 0, 0]])
    // Later streams are not served.
    server.send(Raw.request(3))
    #expect(server.side.seen[3] == nil)
  }

  @Test func clientShutdown() throws {
    let pair = SessionPair()
    pair.echo()
    let id = try #require(pair.send([1]))
    pair.client.shutdownGracefully(now: pair.now)
    #expect(pair.send([2]) == nil)
    #expect(!pair.client.isFinished)
    pair.pump()
    #expect(pair.clientSide.seen[id]?.body == [1])
    #expect(pair.client.isFinished)
    #expect(pair.server.isFinished)
  }

  @Test func goAwayRefusesLaterStreams() throws {
    let client = RawClientSession()
    let first = try #require(client.session.openStream(Blocks.request, endStream: true)).id
    let second = try #require(client.session.openStream(Blocks.request, endStream: true)).id
    client.receive(
      Raw.frame(Raw.settings)
        + Raw.frame(Raw.goAway, UInt32(first).bigEndianBytes + UInt32(0).bigEndianBytes)
    )
    #expect(client.side.goAways == ["\(first) 0"])
    #expect(client.side.seen[first] == nil)
    #expect(client.side.seen[second]?.closedCodes == [7])
    #expect(!client.session.isFinished)
  }

  @Test func closeNowTellsThePeerAndEndsStreams() throws {
    let pair = SessionPair()
    let id = try #require(pair.send([1]))
    pair.pump()
    pair.server.closeNow(errorCode: 2)
    let last = Raw.parse(pair.server.drain(now: pair.now)).last
    #expect(last?.type == Raw.goAway)
    #expect(last?.errorCode == 2)
    pair.server.close(.finished)
    pair.server.close(.finished)
    #expect(pair.serverSide.seen[id]?.closedCodes == [8])
    #expect(pair.serverSide.closeReasons == [.closedLocally(errorCode: 2)])
  }
}

import HTTP2
import NIOCore
import Testing

@Suite("Peers that wear out a server are cut off")
struct FloodTests {
  private let enhanceYourCalm: UInt32 = 11

  private func expectCutOff(_ server: RawServer, _ abuse: HTTP2Abuse) {
    #expect(server.session.closeReason == .abuse(abuse))
    let goAway = server.frames().last
    #expect(goAway?.type == Raw.goAway)
    #expect(goAway?.errorCode == enhanceYourCalm)
    // Nothing more is taken in.
    let ends = server.side.endCount
    server.send(Raw.request(2_000_001))
    #expect(server.side.endCount == ends)
    #expect(server.session.isFinished)
    server.session.close(.finished)
    #expect(server.side.closeReasons == [.abuse(abuse)])
    #expect(server.session.liveStreamCount == 0)
  }

  @Test func rapidReset() {
    let server = RawServer()
    let times = server.flood(timesMax: 5_000) { time in
      let id = Int32(2 * time + 1)
      return Raw.request(id) + Raw.reset(id)
    }
    #expect(times == 1_001)
    expectCutOff(server, .resets)
  }

  @Test func resetsWithinTheBudgetAreServed() {
    let server = RawServer()
    let times = server.flood(timesMax: 5_000) { time in
      server.now = server.now + .milliseconds(10)
      let id = Int32(2 * time + 1)
      return Raw.request(id) + Raw.reset(id)
    }
    #expect(times == 5_000)
    #expect(server.session.closeReason == nil)
  }

  /// The peer makes us reset its streams instead of doing it itself.
  @Test func provokedResets() {
    let server = RawServer()
    let times = server.flood(timesMax: 5_000) { time in
      let id = Int32(2 * time + 1)
      return Raw.request(id) + Raw.window(id, 0x7fff_ffff)
    }
    #expect(times <= 1_001)
    expectCutOff(server, .resets)
  }

  @Test func pingsNotRead() {
    var configuration = HTTP2Configuration()
    configuration.keepalive.pingStrikesMax = .max
    configuration.floodLimits.controlFramesBurst = 1 << 20
    let server = RawServer(configuration)
    let ping = Raw.frame(Raw.ping, [1, 2, 3, 4, 5, 6, 7, 8])
    let times = server.flood(timesMax: 100_000, readsAnswers: false) { _ in ping }
    #expect(times < 2_000)
    #expect(server.session.closeReason == .abuse(.unreadAnswers))
  }

  @Test func pingsReadAsTheyCome() {
    var configuration = HTTP2Configuration()
    configuration.keepalive.pingStrikesMax = .max
    let server = RawServer(configuration)
    let ping = Raw.frame(Raw.ping, [1, 2, 3, 4, 5, 6, 7, 8])
    #expect(server.flood(timesMax: 100_000) { _ in ping } <= 4_097)
    expectCutOff(server, .controlFrames)
  }

  @Test func settings() {
    let server = RawServer()
    let frame = Raw.frame(Raw.settings, [0, 4, 0, 0, 0xff, 0xff])
    #expect(server.flood(timesMax: 10_000) { _ in frame } < 200)
    expectCutOff(server, .controlFrames)
  }

  @Test func tooManySettingsInAFrame() {
    let server = RawServer()
    let entries = Array(repeating: [0, 4, 0, 0, 0xff, 0xff] as [UInt8], count: 100)
    server.send(Raw.frame(Raw.settings, entries.flatMap { $0 }))
    #expect(server.frames().last?.errorCode == enhanceYourCalm)
    #expect(server.session.closeReason == .protocolError)
  }

  @Test func emptyData() {
    let server = RawServer()
    server.send(Raw.request(1, flags: Raw.endHeaders))
    #expect(server.flood(timesMax: 10_000) { _ in Raw.frame(Raw.data, stream: 1) } < 5_000)
    expectCutOff(server, .controlFrames)
  }

  /// They race with the stream's end, so they are no offence; they bring nothing and cost no window.
  @Test func dataOnClosedStreamsIsDropped() {
    var configuration = HTTP2Configuration()
    configuration.connectionWindowBytes = 100_000
    let server = RawServer(configuration)
    server.answer()
    server.send(Raw.request(1))
    _ = server.frames()
    #expect(server.session.liveStreamCount == 0)
    let data = Raw.frame(Raw.data, stream: 1, [UInt8](repeating: 1, count: 10_000))
    var windowBytes = 100_000
    for _ in 0..<100 {
      windowBytes -= 10_000
      #expect(windowBytes >= 0)
      server.send(data)
      for frame in server.frames() {
        #expect(frame.type == Raw.windowUpdate)
        windowBytes += frame.payload.reduce(0) { $0 << 8 | Int($1) }
      }
    }
    #expect(server.session.closeReason == nil)
    #expect(server.side.bodyBytes == 0)
  }

  @Test func dataOnIdleStreamsEndsTheConnection() {
    let server = RawServer()
    server.send(Raw.frame(Raw.data, stream: 7, [1]))
    #expect(server.frames().last?.type == Raw.goAway)
    #expect(server.session.closeReason == .protocolError)
  }

  @Test(arguments: [Raw.priority, Raw.windowUpdate])
  func idleTalk(type: UInt8) {
    let server = RawServer()
    let payload: [UInt8] = type == Raw.priority ? [0, 0, 0, 0, 16] : [0, 0, 0, 1]
    let stream: Int32 = type == Raw.priority ? 1 : 0
    let frame = Raw.frame(type, stream: stream, payload)
    #expect(server.flood(timesMax: 10_000) { _ in frame } < 5_000)
    expectCutOff(server, .controlFrames)
  }

  @Test func continuations() {
    let server = RawServer()
    server.send(Raw.frame(Raw.headers, stream: 1, Raw.requestFields))
    let times = server.flood(timesMax: 1_000) { _ in Raw.frame(Raw.continuation, stream: 1) }
    #expect(times < 20)
    expectCutOff(server, .continuations)
  }

  @Test func longHeadersEndTheirStreamOnly() {
    let server = RawServer()
    server.answer()
    let long = Raw.requestFields + Raw.fields([("long", String(repeating: "x", count: 16_300))])
    server.send(
      Raw.frame(Raw.headers, flags: Raw.endStream, stream: 1, Array(long.prefix(16_000)))
        + Raw.frame(
          Raw.continuation,
          flags: Raw.endHeaders,
          stream: 1,
          Array(long.dropFirst(16_000))
        )
    )
    let resets = server.frames().filter { $0.type == Raw.resetStream }
    #expect(resets.map(\.errorCode) == [enhanceYourCalm])
    #expect(server.side.seen[1]?.blocks == [])
    #expect(server.side.seen[1]?.closedCodes == [enhanceYourCalm])
    #expect(server.session.closeReason == nil)
    server.send(Raw.request(3))
    #expect(server.side.seen[3]?.blocks.count == 1)
    #expect(server.side.seen[3]?.endCount == 1)
  }

  @Test func manyShortHeadersCountToo() {
    let server = RawServer()
    let many = Raw.requestFields + Raw.fields(Array(repeating: ("a", "b"), count: 600))
    server.send(Raw.frame(Raw.headers, flags: Raw.endHeaders | Raw.endStream, stream: 1, many))
    let resets = server.frames().filter { $0.type == Raw.resetStream }
    #expect(resets.map(\.errorCode) == [enhanceYourCalm])
    #expect(server.side.endCount == 0)
  }

  @Test func streamWindowOverflowEndsTheStream() {
    let server = RawServer()
    server.send(Raw.request(1, flags: Raw.endHeaders) + Raw.window(1, 0x7fff_ffff))
    let frames = server.frames()
    #expect(frames.map(\.type) == [Raw.resetStream])
    #expect(frames.map(\.errorCode) == [3])
    #expect(server.side.seen[1]?.closedCodes == [3])
    #expect(server.session.closeReason == nil)
  }

  @Test(arguments: [Raw.window(0, 0x7fff_ffff), Raw.window(0, 0), Raw.window(1, 0)])
  func brokenWindowUpdatesEndTheConnection(frame: [UInt8]) {
    let server = RawServer()
    server.send(Raw.request(1, flags: Raw.endHeaders) + frame)
    #expect(server.frames().last?.type == Raw.goAway)
    #expect(server.session.closeReason == .protocolError)
    #expect(server.session.isFinished)
  }

  @Test func streamsBeyondTheLimit() {
    var configuration = HTTP2Configuration()
    configuration.concurrentStreamsMax = 2
    let server = RawServer(configuration)
    server.send(Raw.request(1) + Raw.request(3) + Raw.request(5))
    #expect(server.side.seen[5] == nil)
    #expect(server.session.liveStreamCount <= 2)
  }

  @Test func unknownPreface() {
    let server = RawServer(isStarted: false)
    server.send(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
    #expect(server.session.closeReason == .protocolError)
    #expect(server.session.isFinished)
  }

  /// What an honest client does at full speed is no flood, even when no time passes.
  @Test func honestTrafficIsServed() {
    let server = RawServer()
    server.answer()
    let times = server.flood(timesMax: 30_000) { time in
      Raw.request(Int32(2 * time + 1)) + Raw.window(0, 1)
    }
    #expect(times == 30_000)
    #expect(server.session.closeReason == nil)
    #expect(server.side.endCount == 30_000)
  }

  /// Thousands of small frames are under way before the client acknowledges the first of them, with
  /// two WINDOW_UPDATEs each, as gRPC's C core does.
  @Test func acknowledgementsThatComeTogetherAreServed() {
    let server = RawServer()
    server.answer()
    let count = 6_000
    let times = server.flood(timesMax: count) { Raw.request(Int32(2 * $0 + 1)) }
    #expect(times == count)
    let acknowledged = server.flood(timesMax: 2 * count) { _ in Raw.window(0, 1) }
    #expect(acknowledged == 2 * count)
    #expect(server.session.closeReason == nil)
    // What is earned is used up at last.
    let more = server.flood(timesMax: 400_000) { _ in Raw.window(0, 1) }
    #expect(more < 300_000)
    expectCutOff(server, .controlFrames)
  }
}

import HTTP2
import NIOCore
import Testing

@Suite("Input in any pieces, and any input")
struct InputTests {
  /// A conversation's client bytes: unary calls, a streamed one, a reset one, a ping.
  private static func conversation() -> [UInt8] {
    var bytes = Raw.start
    for number in 0..<3 {
      let id = Int32(2 * number + 1)
      bytes += Raw.request(id, flags: Raw.endHeaders)
      bytes += Raw.frame(Raw.data, stream: id, Array(repeating: UInt8(number), count: 30))
      bytes += Raw.frame(Raw.data, flags: Raw.endStream, stream: id, [1, 2, 3])
    }
    bytes += Raw.frame(Raw.headers, stream: 7, Array(Raw.requestFields.prefix(20)))
    bytes += Raw.frame(
      Raw.continuation,
      flags: Raw.endHeaders,
      stream: 7,
      Array(Raw.requestFields.dropFirst(20))
    )
    bytes += Raw.reset(7)
    bytes += Raw.frame(Raw.ping, [1, 2, 3, 4, 5, 6, 7, 8])
    bytes += Raw.request(9) + Raw.window(0, 1_000)
    return bytes
  }

  private static func play(_ pieces: [[UInt8]]) -> (seen: [Int32: Recorder.Seen], output: [UInt8]) {
    let server = RawServer(isStarted: false)
    server.answer()
    for piece in pieces { server.send(piece) }
    #expect(server.session.closeReason == nil)
    return (server.side.seen, server.session.drain(now: server.now))
  }

  @Test func cutAtEveryByte() {
    let bytes = Self.conversation()
    let whole = Self.play([bytes])
    #expect(whole.seen.count == 5)
    #expect(whole.seen[5]?.body.count == 33)
    for at in 1..<bytes.count {
      let cut = Self.play([Array(bytes[..<at]), Array(bytes[at...])])
      #expect(cut.seen == whole.seen, "cut at \(at)")
      #expect(cut.output == whole.output, "cut at \(at)")
    }
    let single = Self.play(bytes.map { [$0] })
    #expect(single.seen == whole.seen)
    #expect(single.output == whole.output)
  }

  @Test(arguments: 0..<8)
  func randomPieces(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let bytes = Self.conversation()
    let whole = Self.play([bytes])
    var pieces: [[UInt8]] = []
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + Int.random(in: 1...40, using: &random))
      pieces.append(Array(bytes[start..<end]))
      start = end
    }
    #expect(Self.play(pieces).seen == whole.seen, "seed \(seed)")
  }

  /// Whatever comes, each stream that was seen is closed exactly once and nothing crashes.
  private static func endure(_ bytes: [UInt8], _ random: inout SeededGenerator, note: String) {
    let server = RawServer(isStarted: false)
    server.answer()
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + Int.random(in: 1...500, using: &random))
      server.send(Array(bytes[start..<end]))
      if Bool.random(using: &random) { _ = server.session.drain(now: server.now) }
      start = end
    }
    _ = server.session.drain(now: server.now)
    server.session.close(.peerClosed)
    for (id, seen) in server.side.seen {
      #expect(seen.closedCodes.count == 1, "stream \(id), \(note)")
      #expect(seen.endCount <= 1, "stream \(id), \(note)")
    }
    #expect(server.side.closeReasons.count == 1, "\(note)")
    #expect(server.session.liveStreamCount == 0, "\(note)")
    #expect(server.session.bufferedBytes == 0, "\(note)")
  }

  @Test(arguments: 0..<4)
  func garbage(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for round in 0..<300 {
      var bytes = Bool.random(using: &random) ? Raw.start : []
      bytes += (0..<Int.random(in: 1...300, using: &random)).map { _ in
        UInt8.random(in: .min ... .max, using: &random)
      }
      Self.endure(bytes, &random, note: "seed \(seed), round \(round)")
    }
  }

  @Test(arguments: 0..<4)
  func damagedConversations(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let good = Self.conversation()
    for round in 0..<500 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        // The preface is kept most of the time, or nothing after it would be looked at.
        let at = Int.random(
          in: round % 10 == 0 ? 0..<bytes.count : 24..<bytes.count,
          using: &random
        )
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &random)
        case 1: bytes.remove(at: at)
        case 2: bytes.insert(UInt8.random(in: .min ... .max, using: &random), at: at)
        default:
          let end = min(bytes.count, at + Int.random(in: 1...60, using: &random))
          bytes.insert(contentsOf: bytes[at..<end], at: at)
        }
      }
      Self.endure(bytes, &random, note: "seed \(seed), round \(round)")
    }
  }

  @Test(arguments: 0..<4)
  func randomFrames(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for round in 0..<200 {
      var bytes = Raw.start
      for _ in 0..<Int.random(in: 1...40, using: &random) {
        let type = UInt8.random(in: 0...12, using: &random)
        let stream = Int32.random(in: 0...9, using: &random)
        if Int.random(in: 0..<3, using: &random) == 0 {
          bytes += Raw.request(stream, flags: UInt8.random(in: 4...5, using: &random))
        } else {
          let payload = (0..<Int.random(in: 0...24, using: &random)).map { _ in
            UInt8.random(in: 0...9, using: &random)
          }
          bytes += Raw.frame(
            type,
            flags: UInt8.random(in: 0...45, using: &random),
            stream: stream,
            payload
          )
        }
      }
      Self.endure(bytes, &random, note: "seed \(seed), round \(round)")
    }
  }

  @Test(arguments: 0..<4)
  func garbageForAClient(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for round in 0..<200 {
      let client = RawClientSession()
      for _ in 0..<3 {
        try #require(client.session.openStream(Blocks.request, endStream: true) != nil)
      }
      var bytes = Raw.frame(Raw.settings)
      for _ in 0..<Int.random(in: 1...20, using: &random) {
        let type = UInt8.random(in: 0...12, using: &random)
        let payload = (0..<Int.random(in: 0...24, using: &random)).map { _ in
          UInt8.random(in: 0...9, using: &random)
        }
        bytes += Raw.frame(
          type,
          flags: UInt8.random(in: 0...45, using: &random),
          stream: Int32.random(in: 0...7, using: &random),
          payload
        )
      }
      client.receive(bytes)
      _ = client.session.drain(now: client.now)
      client.session.close(.peerClosed)
      #expect(client.side.closedCount == 3, "seed \(seed), round \(round)")
      #expect(client.session.liveStreamCount == 0)
    }
  }
}

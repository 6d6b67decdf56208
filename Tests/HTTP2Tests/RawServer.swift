import Base
import HTTP2
import NIOCore

/// A server session and the bytes of a hand-made client.
final class RawServer {
  let session: HTTP2Session
  let side = Recorder()
  var now = NIODeadline.uptimeNanoseconds(1_000_000_000)

  init(_ configuration: HTTP2Configuration = .default, isStarted: Bool = true) {
    session = HTTP2Session(role: .server, configuration: configuration, delegate: side, now: now)
    side.session = session
    guard isStarted else { return }
    send(Raw.start + Raw.frame(Raw.settings, flags: Raw.ack))
    _ = session.drain(now: now)
  }

  /// One turn of reading.
  func send(_ bytes: [UInt8]) {
    session.receivePieces(bytes, pieceBytes: 64 << 10, now: now)
  }

  /// What the server has to say.
  func frames() -> [Raw.Frame] { Raw.parse(session.drain(now: now)) }

  /// Sends `bytes` until the server cuts the connection or `timesMax` is reached; it reads the
  /// answers after each. Returns how many times.
  func flood(timesMax: Int, readsAnswers: Bool = true, _ bytes: (Int) -> [UInt8]) -> Int {
    for time in 0..<timesMax {
      send(bytes(time))
      if session.closeReason != nil { return time + 1 }
      if readsAnswers { _ = session.drain(now: now) }
    }
    return timesMax
  }

  /// Answers each request at once.
  func answer() {
    side.onEnd = { [unowned self] stream in
      session.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) {
        $0.append(byte: 7)
      }
    }
  }
}

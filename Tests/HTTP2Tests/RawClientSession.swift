import HTTP2
import NIOCore

/// A client session and the bytes of a hand-made server.
final class RawClientSession {
  let session: HTTP2Session
  let side = Recorder()
  var now = NIODeadline.uptimeNanoseconds(1_000_000_000)

  init(_ configuration: HTTP2Configuration = .default) {
    session = HTTP2Session(role: .client, configuration: configuration, delegate: side, now: now)
    side.session = session
  }

  func receive(_ bytes: [UInt8]) {
    _ = session.drain(now: now)
    session.receivePieces(bytes, pieceBytes: 64 << 10, now: now)
  }
}

import Base
import HTTP2
import NIOCore

/// A client and a server session whose bytes a test carries to and fro.
final class SessionPair {
  let client: HTTP2Session
  let server: HTTP2Session
  let clientSide = Recorder()
  let serverSide = Recorder()
  var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
  /// Bytes given to `receive` and room given to `produce` at a time.
  var pieceBytes = 20 << 10

  init(
    client: HTTP2Configuration = .default,
    server: HTTP2Configuration = .default
  ) {
    self.client = HTTP2Session(role: .client, configuration: client, delegate: clientSide, now: now)
    self.server = HTTP2Session(role: .server, configuration: server, delegate: serverSide, now: now)
    clientSide.session = self.client
    serverSide.session = self.server
  }

  /// Answers each request with its own body.
  func echo() {
    serverSide.onEnd = { [unowned self] stream in
      let body = serverSide.seen[stream.id]?.body ?? []
      server.respond(stream, headers: Blocks.response, trailers: Blocks.trailers) { writer in
        body.withUnsafeBytes { writer.append($0) }
      }
    }
  }

  /// Carries bytes until neither side has more.
  func pump() {
    while carry(from: client, to: server) + carry(from: server, to: client) > 0 {}
  }

  @discardableResult
  func carry(from: HTTP2Session, to: HTTP2Session) -> Int {
    let bytes = from.drain(now: now)
    to.receivePieces(bytes, pieceBytes: pieceBytes, now: now)
    return bytes.count
  }

  /// Opens a stream with a body and ends it.
  @discardableResult
  func send(_ body: [UInt8]) -> Int32? {
    guard let stream = client.openStream(Blocks.request, endStream: false) else { return nil }
    body.withUnsafeBytes { client.write(stream, $0) }
    client.endStream(stream)
    return stream.id
  }
}

extension HTTP2Session {
  /// All output there is.
  func drain(now: NIODeadline, roomBytes: Int = 20 << 10) -> [UInt8] {
    var all: [UInt8] = []
    var room = [UInt8](repeating: 0, count: roomBytes)
    while true {
      let count = room.withUnsafeMutableBytes { produce(into: $0, now: now) }
      all += room[..<count]
      deliverWritable()
      if count == 0 { return all }
    }
  }

  /// One turn of reading, in pieces.
  func receivePieces(_ bytes: [UInt8], pieceBytes: Int, now: NIODeadline) {
    guard !bytes.isEmpty else { return }
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + pieceBytes)
      // A copy of its own for each piece, so that a read beyond its end is not a silent success.
      Array(bytes[start..<end]).withUnsafeBytes { receive($0, now: now) }
      start = end
    }
    turnEnded()
  }
}

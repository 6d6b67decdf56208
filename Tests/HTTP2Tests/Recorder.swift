import HTTP2

/// Writes down what a session tells its delegate, and does what a test plugs in.
final class Recorder: HTTP2Delegate {
  /// What has been seen of one stream.
  struct Seen: Equatable {
    var blocks: [String] = []
    var body: [UInt8] = []
    var endCount = 0
    var closedCodes: [UInt32] = []
    var writableCount = 0
  }

  /// What the recorder calls `consume` on; set by the test after the session is made.
  weak var session: HTTP2Session?
  weak var connection: HTTP2Connection?
  var consumesAtOnce = true
  var keepsBodies = true
  var onHeaders: ((HTTP2Stream, HTTP2HeadersKind) -> Void)?
  var onData: ((HTTP2Stream, UnsafeRawBufferPointer) -> Void)?
  var onEnd: ((HTTP2Stream) -> Void)?
  var onClosed: ((HTTP2Stream) -> Void)?
  var onWritable: ((HTTP2Stream) -> Void)?
  var onTurn: (() -> Void)?

  private(set) var seen: [Int32: Seen] = [:]
  private(set) var turnCount = 0
  private(set) var goAways: [String] = []
  private(set) var closeReasons: [HTTP2CloseReason] = []
  private var fields: [String] = []
  private(set) var bodyBytes = 0

  var endCount: Int { seen.values.reduce(0) { $0 + $1.endCount } }
  var closedCount: Int { seen.values.reduce(0) { $0 + $1.closedCodes.count } }

  func headerField(
    _ stream: HTTP2Stream,
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) {
    fields.append(
      String(decoding: name, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self)
    )
  }

  func headersComplete(_ stream: HTTP2Stream, kind: HTTP2HeadersKind, endStream: Bool) {
    let text = "\(kind)\(endStream ? " end" : ""): " + fields.joined(separator: " ")
    seen[stream.id, default: Seen()].blocks.append(text)
    fields = []
    onHeaders?(stream, kind)
  }

  func dataReceived(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer) {
    bodyBytes += bytes.count
    if keepsBodies { seen[stream.id, default: Seen()].body.append(contentsOf: bytes) }
    onData?(stream, bytes)
    guard consumesAtOnce else { return }
    session?.consume(stream, bytes.count)
    connection?.consume(stream, bytes.count)
  }

  func endOfStream(_ stream: HTTP2Stream) {
    seen[stream.id, default: Seen()].endCount += 1
    onEnd?(stream)
  }

  func streamClosed(_ stream: HTTP2Stream, errorCode: UInt32) {
    seen[stream.id, default: Seen()].closedCodes.append(errorCode)
    fields = []
    onClosed?(stream)
  }

  func streamWritable(_ stream: HTTP2Stream) {
    seen[stream.id, default: Seen()].writableCount += 1
    onWritable?(stream)
  }

  func turnEnded() {
    turnCount += 1
    onTurn?()
  }

  func goAwayReceived(lastStreamID: Int32, errorCode: UInt32) {
    goAways.append("\(lastStreamID) \(errorCode)")
  }

  func connectionClosed(_ reason: HTTP2CloseReason) {
    closeReasons.append(reason)
  }
}

/// Header blocks that many tests use.
enum Blocks {
  static let request = HeaderBlock.permanent([
    (":method", "POST"), (":scheme", "http"), (":path", "/etcdserverpb.KV/Put"),
    (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"),
  ])
  static let response = HeaderBlock.permanent([
    (":status", "200"), ("content-type", "application/grpc"),
  ])
  static let trailers = HeaderBlock.permanent([("grpc-status", "0"), ("grpc-message", "")])

  static let requestText =
    "request: :method=POST :scheme=http :path=/etcdserverpb.KV/Put :authority=localhost "
    + "content-type=application/grpc te=trailers"
  static let responseText = "response: :status=200 content-type=application/grpc"
  static let trailersText = "trailers end: grpc-status=0 grpc-message="
}

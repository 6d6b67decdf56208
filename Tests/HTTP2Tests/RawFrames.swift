/// Frames made by hand, for peers that no well-behaved library would play.
enum Raw {
  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  static let data: UInt8 = 0
  static let headers: UInt8 = 1
  static let priority: UInt8 = 2
  static let resetStream: UInt8 = 3
  static let settings: UInt8 = 4
  static let ping: UInt8 = 6
  static let goAway: UInt8 = 7
  static let windowUpdate: UInt8 = 8
  static let continuation: UInt8 = 9

  static let endStream: UInt8 = 1
  static let ack: UInt8 = 1
  static let endHeaders: UInt8 = 4

  static func frame(
    _ type: UInt8,
    flags: UInt8 = 0,
    stream: Int32 = 0,
    _ payload: [UInt8] = []
  ) -> [UInt8] {
    let length = UInt32(payload.count).bigEndianBytes
    return length[1...] + [type, flags] + UInt32(stream).bigEndianBytes + payload
  }

  /// What a client opens with.
  static let start = preface + frame(settings)

  /// HPACK literals, not indexed, not Huffman-coded.
  static func fields(_ list: [(String, String)]) -> [UInt8] {
    var bytes: [UInt8] = []
    for (name, value) in list {
      bytes.append(0)
      for text in [Array(name.utf8), Array(value.utf8)] {
        appendLength(text.count, to: &bytes)
        bytes += text
      }
    }
    return bytes
  }

  private static func appendLength(_ length: Int, to bytes: inout [UInt8]) {
    guard length >= 127 else {
      bytes.append(UInt8(length))
      return
    }
    bytes.append(127)
    var rest = length - 127
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  static let requestFields = fields([
    (":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "h"),
    ("te", "trailers"),
  ])

  static func request(_ stream: Int32, flags: UInt8 = endHeaders | endStream) -> [UInt8] {
    frame(headers, flags: flags, stream: stream, requestFields)
  }

  static func reset(_ stream: Int32, code: UInt32 = 8) -> [UInt8] {
    frame(resetStream, stream: stream, code.bigEndianBytes)
  }

  static func window(_ stream: Int32, _ increment: UInt32) -> [UInt8] {
    frame(windowUpdate, stream: stream, increment.bigEndianBytes)
  }

  /// A frame as it came.
  struct Frame {
    var type: UInt8
    var flags: UInt8
    var stream: Int32
    var payload: [UInt8]

    /// The error code of a RST_STREAM, or of a GOAWAY.
    var errorCode: UInt32 {
      let start = type == Raw.goAway ? 4 : 0
      return payload[start..<start + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }
  }

  /// Takes output apart into frames; the rest of an unfinished one is left out.
  static func parse(_ bytes: [UInt8]) -> [Frame] {
    var frames: [Frame] = []
    var at = 0
    while at + 9 <= bytes.count {
      let length = bytes[at..<at + 3].reduce(0) { $0 << 8 | Int($1) }
      guard at + 9 + length <= bytes.count else { break }
      let stream = bytes[at + 5..<at + 9].reduce(0) { $0 << 8 | Int32($1) }
      frames.append(
        Frame(
          type: bytes[at + 3],
          flags: bytes[at + 4],
          stream: stream,
          payload: Array(bytes[at + 9..<at + 9 + length])
        )
      )
      at += 9 + length
    }
    return frames
  }
}

extension UInt32 {
  var bigEndianBytes: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }
}

/// Numbers from a seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

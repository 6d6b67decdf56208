internal import CNghttp2

// What makes a request well-formed (RFC 9113 8.1 to 8.3). nghttp2 can check that too, but it refuses
// an :authority with a slash, and etcdctl 3.4 sends an endpoint there as its user wrote it, with
// `http://`. So a server's sessions check for themselves.

/// What is to be done with a field of a request.
enum FieldVerdict {
  case good
  /// To be left out: nothing that a well-behaved client sends, and no harm.
  case dropped
  /// The request is malformed.
  case malformed
}

extension StreamState {
  /// Looks at the next field of a request's head or trailers, and remembers what came.
  mutating func check(
    name: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer
  ) -> FieldVerdict {
    guard let first = name.first else { return .malformed }
    if first == UInt8(ascii: ":") { return checkPseudo(name, value) }
    flags.insert(.regularSeen)
    switch FieldBytes.kind(ofName: name) {
    case .token: break
    case .upperCase: return .malformed
    case .other: return .dropped
    }
    guard FieldBytes.isValue(value) else { return .dropped }
    // The few names that mean something to HTTP/2 itself, by their lengths.
    switch name.count {
    case 2 where name.isSame(as: "te"):
      return value.isSameIgnoringCase(as: "trailers") ? .good : .malformed
    case 7 where name.isSame(as: "upgrade"), 10 where name.isSame(as: "connection"),
      10 where name.isSame(as: "keep-alive"), 16 where name.isSame(as: "proxy-connection"),
      17 where name.isSame(as: "transfer-encoding"):
      return .malformed
    case 14 where name.isSame(as: "content-length"):
      return checkLength(value)
    default:
      return .good
    }
  }

  private mutating func checkPseudo(
    _ name: UnsafeRawBufferPointer,
    _ value: UnsafeRawBufferPointer
  ) -> FieldVerdict {
    // They come before all others, none of them twice, and in no trailers.
    guard !flags.contains(.regularSeen), FieldBytes.isValue(value) else { return .malformed }
    let flag: StreamFlags
    switch name.count {
    case 5 where name.isSame(as: ":path"):
      guard let first = value.first, first == UInt8(ascii: "/") || value.isSame(as: "*") else {
        return .malformed
      }
      flag = .pathSeen
    case 7 where name.isSame(as: ":method"):
      guard !value.isEmpty else { return .malformed }
      flag = .methodSeen
    case 7 where name.isSame(as: ":scheme"):
      guard !value.isEmpty else { return .malformed }
      flag = .schemeSeen
    case 10 where name.isSame(as: ":authority"):
      flag = .authoritySeen
    default:
      return .malformed
    }
    return flags.insert(flag).inserted ? .good : .malformed
  }

  private static let lengthDigitsMax = 18

  private mutating func checkLength(_ value: UnsafeRawBufferPointer) -> FieldVerdict {
    guard bodyBytesDeclared < 0, !value.isEmpty, value.count <= Self.lengthDigitsMax else {
      return .malformed
    }
    var length = 0
    for byte in value {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return .malformed }
      length = length * 10 + Int(byte - UInt8(ascii: "0"))
    }
    bodyBytesDeclared = length
    return .good
  }

  /// Whether a request's head has all that it must.
  var isHeadWhole: Bool { flags.isSuperset(of: [.methodSeen, .schemeSeen, .pathSeen]) }

  /// Whether the body, which has ended, is as long as was said.
  var isBodyWhole: Bool { bodyBytesDeclared < 0 || bodyBytesDeclared == bodyBytesReceived }
}

extension HTTP2Session {
  /// Ends a request that is malformed; the delegate hears of it no more than that its stream ends.
  func refuseMalformed(_ state: UnsafeMutablePointer<StreamState>) {
    guard state.pointee.flags.insert(.reset).inserted else { return }
    submitReset(state.pointee.id, NGHTTP2_PROTOCOL_ERROR.rawValue)
    takeResetToken()
  }
}

/// The characters of names and values.
private enum FieldBytes {
  enum NameKind { case token, upperCase, other }

  /// Which of the first 64 and second 64 bytes may stand in a name: tchar of RFC 9110 5.6.2 without
  /// upper-case letters.
  private static let lowMask: UInt64 = mask("!#$%&'*+-.0123456789", above: 0)
  private static let highMask: UInt64 = mask("^_`abcdefghijklmnopqrstuvwxyz|~", above: 64)

  private static func mask(_ characters: StaticString, above start: UInt8) -> UInt64 {
    characters.withUTF8Buffer { $0.reduce(0) { $0 | 1 << UInt64($1 - start) } }
  }

  @inline(__always)
  static func kind(ofName name: UnsafeRawBufferPointer) -> NameKind {
    let (low, high) = (lowMask, highMask)
    var isToken = true
    for byte in name {
      let mask = byte < 64 ? low : byte < 128 ? high : 0
      if mask >> UInt64(byte & 63) & 1 == 1 { continue }
      if (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) { return .upperCase }
      isToken = false
    }
    return isToken ? .token : .other
  }

  /// No control characters but tabs, and no blanks at either end.
  @inline(__always)
  static func isValue(_ value: UnsafeRawBufferPointer) -> Bool {
    guard let first = value.first, let last = value.last else { return true }
    guard first != 0x20, first != 0x09, last != 0x20, last != 0x09 else { return false }
    for byte in value where byte < 0x20 && byte != 0x09 || byte == 0x7f { return false }
    return true
  }
}

extension UnsafeRawBufferPointer {
  @inline(__always)
  fileprivate func isSame(as text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for place in 0..<count where self[place] != text.utf8Start[place] { return false }
    return true
  }

  /// `text` in lower case.
  fileprivate func isSameIgnoringCase(as text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for place in 0..<count where self[place] | 0x20 != text.utf8Start[place] { return false }
    return true
  }
}

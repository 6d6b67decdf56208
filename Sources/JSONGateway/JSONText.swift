import Base

extension ByteWriter {
  mutating func append(text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  mutating func append(list bytes: [UInt8]) {
    bytes.withUnsafeBytes { append($0) }
  }

  mutating func append(decimal value: some BinaryInteger) {
    append(list: Array(String(value).utf8))
  }

  /// Appends a string in quotes. What a browser could take for markup is escaped, as etcd does, and
  /// bytes that are not UTF-8 are replaced.
  mutating func append(quoted bytes: UnsafeRawBufferPointer) {
    append(byte: UInt8(ascii: "\""))
    var rest = bytes[...]
    while let first = rest.first {
      if first < 0x80 {
        append(escaped: first)
        rest = rest.dropFirst()
      } else {
        let length = Self.sequenceLength(UnsafeRawBufferPointer(rebasing: rest))
        if length == 0 {
          append(text: "\u{FFFD}")
        } else if length == 3, rest.starts(with: [0xE2, 0x80, 0xA8]) {
          append(text: #"\u2028"#)
        } else if length == 3, rest.starts(with: [0xE2, 0x80, 0xA9]) {
          append(text: #"\u2029"#)
        } else {
          append(UnsafeRawBufferPointer(rebasing: rest.prefix(length)))
        }
        rest = rest.dropFirst(max(length, 1))
      }
    }
    append(byte: UInt8(ascii: "\""))
  }

  mutating func append(quoted text: String) {
    var text = text
    text.withUTF8 { append(quoted: UnsafeRawBufferPointer($0)) }
  }

  private mutating func append(escaped byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\""): append(text: #"\""#)
    case UInt8(ascii: "\\"): append(text: #"\\"#)
    case UInt8(ascii: "\n"): append(text: #"\n"#)
    case UInt8(ascii: "\r"): append(text: #"\r"#)
    case UInt8(ascii: "\t"): append(text: #"\t"#)
    case 0..<0x20, UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"):
      append(text: byte < 16 ? #"\u000"# : #"\u00"#)
      append(list: Array(String(byte, radix: 16).utf8))
    default: append(byte: byte)
    }
  }

  /// How long the UTF-8 sequence is that `bytes` begins with; 0 when it is none.
  private static func sequenceLength(_ bytes: UnsafeRawBufferPointer) -> Int {
    var iterator = bytes.prefix(4).makeIterator()
    var decoder = Unicode.UTF8()
    guard case .scalarValue(let scalar) = decoder.decode(&iterator) else { return 0 }
    return scalar.utf8.count
  }
}

/// The content of a JSON string without its escapes. Half surrogate pairs and bytes that are not
/// UTF-8 become the replacement character.
func unescaped(_ text: UnsafeRawBufferPointer) -> String {
  guard text.contains(UInt8(ascii: "\\")) else { return String(decoding: text, as: UTF8.self) }
  var result: [UInt8] = []
  result.reserveCapacity(text.count)
  var place = 0
  while place < text.count {
    guard text[place] == UInt8(ascii: "\\") else {
      result.append(text[place])
      place += 1
      continue
    }
    let kind = text[place + 1]
    place += 2
    switch kind {
    case UInt8(ascii: "n"): result.append(0x0A)
    case UInt8(ascii: "t"): result.append(0x09)
    case UInt8(ascii: "r"): result.append(0x0D)
    case UInt8(ascii: "b"): result.append(0x08)
    case UInt8(ascii: "f"): result.append(0x0C)
    case UInt8(ascii: "u"):
      let (scalar, length) = escapedScalar(text, at: place)
      place += length
      result.append(contentsOf: String(scalar).utf8)
    default: result.append(kind)
    }
  }
  return String(decoding: result, as: UTF8.self)
}

/// The scalar whose four digits begin at `place`, and how many bytes spell it: ten when another
/// escape follows that makes a pair with it. The digits were checked by `JSONScanner`.
private func escapedScalar(_ text: UnsafeRawBufferPointer, at place: Int) -> (UnicodeScalar, Int) {
  let replacement: UnicodeScalar = "\u{FFFD}"
  let first = codeUnit(text, at: place)
  guard first & 0xF800 == 0xD800 else { return (UnicodeScalar(first) ?? replacement, 4) }
  guard first < 0xDC00, place + 10 <= text.count, text[place + 4] == UInt8(ascii: "\\"),
    text[place + 5] == UInt8(ascii: "u")
  else { return (replacement, 4) }
  let second = codeUnit(text, at: place + 6)
  guard second & 0xFC00 == 0xDC00 else { return (replacement, 4) }
  let value = 0x10000 + (first & 0x3FF) << 10 + (second & 0x3FF)
  return (UnicodeScalar(value) ?? replacement, 10)
}

private func codeUnit(_ text: UnsafeRawBufferPointer, at place: Int) -> UInt32 {
  (place..<place + 4).reduce(0) { $0 << 4 | (JSONScanner.hexValue(text[$1]) ?? 0) }
}

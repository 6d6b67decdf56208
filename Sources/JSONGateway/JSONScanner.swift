/// Reads the tokens of a JSON text. Every function leaves `offset` behind what it read.
struct JSONScanner {
  let text: UnsafeRawBufferPointer
  var offset: Int

  func peek() throws(JSONSyntaxError) -> UInt8 {
    guard offset < text.count else { throw .unexpectedEnd }
    return text[offset]
  }

  mutating func skipSpace() {
    while offset < text.count {
      switch text[offset] {
      case 0x20, 0x09, 0x0A, 0x0D: offset += 1
      default: return
      }
    }
  }

  mutating func literal(_ word: StaticString) throws(JSONSyntaxError) {
    for position in 0..<word.utf8CodeUnitCount {
      let expected = word.utf8Start[position]
      let byte = try peek()
      guard byte == expected else {
        let wanted = Character(UnicodeScalar(expected))
        throw .unexpected(byte, "in literal \(word) (expecting '\(wanted)')")
      }
      offset += 1
    }
  }

  /// Reads a string; true when nothing in it is escaped.
  mutating func string() throws(JSONSyntaxError) -> Bool {
    var isPlain = true
    offset += 1
    while true {
      let byte = try peek()
      switch byte {
      case UInt8(ascii: "\""):
        offset += 1
        return isPlain
      case UInt8(ascii: "\\"):
        isPlain = false
        offset += 1
        try escape()
      case 0..<0x20:
        throw .unexpected(byte, "in string literal")
      default:
        offset += 1
      }
    }
  }

  private mutating func escape() throws(JSONSyntaxError) {
    let byte = try peek()
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
      UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      offset += 1
    case UInt8(ascii: "u"):
      offset += 1
      for _ in 0..<4 {
        let digit = try peek()
        guard Self.hexValue(digit) != nil else {
          throw .unexpected(digit, "in \\u hexadecimal character escape")
        }
        offset += 1
      }
    default:
      throw .unexpected(byte, "in string escape code")
    }
  }

  static func hexValue(_ digit: UInt8) -> UInt32? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(digit - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(digit - UInt8(ascii: "A")) + 10
    default: nil
    }
  }

  /// Reads a number: an integer, and a fraction and an exponent or not.
  mutating func number() throws(JSONSyntaxError) {
    var byte = try peek()
    if byte == UInt8(ascii: "-") {
      offset += 1
      byte = try peek()
      guard Self.isDigit(byte) else { throw .unexpected(byte, "in numeric literal") }
    }
    guard Self.isDigit(byte) else { throw .unexpected(byte, "looking for beginning of value") }
    offset += 1
    if byte != UInt8(ascii: "0") { skipDigits() }
    if offset < text.count, text[offset] == UInt8(ascii: ".") {
      offset += 1
      try digits("after decimal point in numeric literal")
    }
    if offset < text.count, text[offset] | 0x20 == UInt8(ascii: "e") {
      offset += 1
      let sign = try peek()
      if sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { offset += 1 }
      try digits("in exponent of numeric literal")
    }
  }

  private mutating func digits(_ place: String) throws(JSONSyntaxError) {
    let byte = try peek()
    guard Self.isDigit(byte) else { throw .unexpected(byte, place) }
    skipDigits()
  }

  private mutating func skipDigits() {
    while offset < text.count, Self.isDigit(text[offset]) { offset += 1 }
  }

  static func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }
}

/// Numbers and texts as Go reads and prints them.
enum GoText {
  /// What `strconv.ParseInt` makes of a text.
  enum Parsed<Number: FixedWidthInteger & Sendable>: Sendable {
    case value(Number)
    case objection(String)

    var value: Number? { if case .value(let value) = self { value } else { nil } }
    var objection: String? { if case .objection(let text) = self { text } else { nil } }
  }

  /// Reads a signed number. `radix` 0: 0x, 0o, 0b and 0 at the front are understood.
  static func parseInteger(_ text: String, radix: Int = 0) -> Parsed<Int64> {
    parse(text, radix: radix, "ParseInt")
  }

  static func parseUnsigned(_ text: String, radix: Int) -> Parsed<UInt64> {
    parse(text, radix: radix, "ParseUint")
  }

  private static func parse<Number: FixedWidthInteger>(
    _ text: String,
    radix: Int,
    _ function: String
  ) -> Parsed<Number> {
    var digits = Substring(text)
    let sign = digits.hasPrefix("-") || digits.hasPrefix("+") ? String(digits.removeFirst()) : ""
    var radix = radix
    if radix == 0 {
      radix = 10
      for (prefix, of) in [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)]
      where digits.hasPrefix(prefix) {
        digits = digits.dropFirst(2)
        radix = of
      }
      if radix == 10, digits.hasPrefix("0"), digits.count > 1 {
        digits = digits.dropFirst()
        radix = 8
      }
    }
    let isDigit: (Character) -> Bool = { ($0.hexDigitValue ?? radix) < radix && $0.isASCII }
    guard !digits.isEmpty, digits.allSatisfy(isDigit), sign.isEmpty || Number.isSigned else {
      return .objection("strconv.\(function): parsing \(quoted(text)): invalid syntax")
    }
    guard let number = Number((sign == "-" ? "-" : "") + digits, radix: radix) else {
      return .objection("strconv.\(function): parsing \(quoted(text)): value out of range")
    }
    return .value(number)
  }

  /// What `%q` prints of a text.
  static func quoted(_ text: String) -> String {
    RawText.text(quoted(RawText.bytes(text)))
  }

  /// What `%q` prints of bytes, which may be no UTF-8.
  static func quoted(_ bytes: [UInt8]) -> [UInt8] {
    var result = [UInt8(ascii: "\"")]
    var index = 0
    while index < bytes.count {
      guard let (scalar, length) = scalar(bytes, at: index) else {
        result += "\\x\(hex(UInt32(bytes[index]), 2))".utf8
        index += 1
        continue
      }
      result += escaped(scalar).utf8
      index += length
    }
    return result + [UInt8(ascii: "\"")]
  }

  private static let escapes: [Unicode.Scalar: String] = [
    "\u{07}": "\\a", "\u{08}": "\\b", "\u{0c}": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
    "\u{0b}": "\\v", "\\": "\\\\", "\"": "\\\"",
  ]

  private static func escaped(_ scalar: Unicode.Scalar) -> String {
    if let escape = escapes[scalar] { return escape }
    if isPrintable(scalar) { return String(Character(scalar)) }
    if scalar.value < 0x80 { return "\\x\(hex(scalar.value, 2))" }
    return scalar.value < 0x10000
      ? "\\u\(hex(scalar.value, 4))" : "\\U\(hex(scalar.value, 8))"
  }

  private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value < 0x80 { return (0x20..<0x7f).contains(scalar.value) }
    return switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
      .paragraphSeparator, .spaceSeparator:
      false
    default: true
    }
  }

  /// The scalar that begins at `index`, and its length in bytes; nil where there is no valid one.
  static func scalar(_ bytes: [UInt8], at index: Int) -> (Unicode.Scalar, Int)? {
    if bytes[index] < 0x80 { return (Unicode.Scalar(bytes[index]), 1) }
    let length = bytes[index] >= 0xf0 ? 4 : bytes[index] >= 0xe0 ? 3 : 2
    guard bytes[index] >= 0xc2, index + length <= bytes.count else { return nil }
    guard let text = String(validating: bytes[index..<index + length], as: UTF8.self),
      let scalar = text.unicodeScalars.first, text.unicodeScalars.count == 1
    else { return nil }
    return (scalar, length)
  }

  static func hex(_ value: UInt32, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  /// Sixteen digits, as IDs of leases are printed.
  static func hex16(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

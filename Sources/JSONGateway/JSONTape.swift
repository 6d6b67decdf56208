/// Why a text is not JSON, in the words that gateways of this kind use.
enum JSONSyntaxError: Error, CustomStringConvertible {
  case unexpectedEnd
  /// A byte that cannot stand where it does.
  case unexpected(UInt8, String)
  case tooDeep(UInt8)
  case tooLong

  var description: String {
    switch self {
    case .unexpectedEnd: "unexpected EOF"
    case .unexpected(let byte, let place): "invalid character \(Self.quote(byte)) \(place)"
    case .tooDeep(let byte): "invalid character \(Self.quote(byte)) exceeded max depth"
    case .tooLong: "request body too large"
    }
  }

  private static func quote(_ byte: UInt8) -> String {
    switch byte {
    case UInt8(ascii: "'"): #"'\''"#
    case UInt8(ascii: "\\"): #"'\\'"#
    case 0x20..<0x7F: "'\(Character(UnicodeScalar(byte)))'"
    default: "'\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16) + "'"
    }
  }
}

/// One JSON text, checked and cut into its values without building them: a row for each value, in
/// the order of the text. To step over a value, however large, is one look-up.
///
/// The work is linear in the text, and the rows take at most `rowBytes` for each of its bytes.
struct JSONTape {
  enum Kind: UInt8 {
    case null
    case `true`
    case `false`
    case number
    /// A string whose content stands in the text as it is.
    case plainString
    case escapedString
    /// Followed by the rows of a key and a value in turn.
    case object
    case array
  }

  struct Row {
    /// Where the value's text begins; a string's without its quotes.
    var start: UInt32
    var end: UInt32
    /// The row behind the value and all that is in it.
    var next: UInt32
    var kind: Kind

    var range: Range<Int> { Int(start)..<Int(end) }
  }

  /// How deep arrays and objects may nest. The deepest message that means anything to the server, a
  /// nested transaction, needs three levels for each of its own.
  static let depthMax = 256
  /// The longest text, in bytes: its places must fit in 32 bits.
  static let textBytesMax = 1 << 30

  private(set) var rows: ContiguousArray<Row> = []
  /// The containers around the place of reading, as row numbers.
  private var open: ContiguousArray<Int> = []

  /// Reads the first value at or after `offset`, and moves `offset` behind it. False when there is
  /// nothing but white space.
  mutating func read(
    _ text: UnsafeRawBufferPointer,
    at offset: inout Int
  ) throws(JSONSyntaxError) -> Bool {
    guard text.count <= Self.textBytesMax else { throw .tooLong }
    rows.removeAll(keepingCapacity: true)
    open.removeAll(keepingCapacity: true)
    var scanner = JSONScanner(text: text, offset: offset)
    scanner.skipSpace()
    offset = scanner.offset
    guard scanner.offset < text.count else { return false }
    try value(&scanner)
    while let container = open.last {
      if rows[container].kind == .object {
        try continueObject(container, &scanner)
      } else {
        try continueArray(container, &scanner)
      }
    }
    offset = scanner.offset
    return true
  }

  private mutating func add(_ kind: Kind, _ start: Int, _ end: Int) {
    rows.append(
      Row(start: UInt32(start), end: UInt32(end), next: UInt32(rows.count + 1), kind: kind)
    )
  }

  /// Reads a scalar whole, or the beginning of a container.
  private mutating func value(_ scanner: inout JSONScanner) throws(JSONSyntaxError) {
    scanner.skipSpace()
    let start = scanner.offset
    let byte = try scanner.peek()
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      guard open.count < Self.depthMax else { throw .tooDeep(byte) }
      scanner.offset += 1
      open.append(rows.count)
      add(byte == UInt8(ascii: "{") ? .object : .array, start, start)
    case UInt8(ascii: "\""):
      let isPlain = try scanner.string()
      add(isPlain ? .plainString : .escapedString, start + 1, scanner.offset - 1)
    case UInt8(ascii: "t"):
      try scanner.literal("true")
      add(.true, start, scanner.offset)
    case UInt8(ascii: "f"):
      try scanner.literal("false")
      add(.false, start, scanner.offset)
    case UInt8(ascii: "n"):
      try scanner.literal("null")
      add(.null, start, scanner.offset)
    default:
      try scanner.number()
      add(.number, start, scanner.offset)
    }
  }

  private mutating func close(_ container: Int, _ scanner: inout JSONScanner) {
    scanner.offset += 1
    rows[container].end = UInt32(scanner.offset)
    rows[container].next = UInt32(rows.count)
    open.removeLast()
  }

  /// Reads the next member, or the end, of the innermost object.
  private mutating func continueObject(
    _ container: Int,
    _ scanner: inout JSONScanner
  ) throws(JSONSyntaxError) {
    scanner.skipSpace()
    var byte = try scanner.peek()
    if byte == UInt8(ascii: "}") { return close(container, &scanner) }
    if rows.count > container + 1 {
      guard byte == UInt8(ascii: ",") else {
        throw .unexpected(byte, "after object key:value pair")
      }
      scanner.offset += 1
      scanner.skipSpace()
      byte = try scanner.peek()
    }
    guard byte == UInt8(ascii: "\"") else {
      throw .unexpected(byte, "looking for beginning of object key string")
    }
    let start = scanner.offset
    let isPlain = try scanner.string()
    add(isPlain ? .plainString : .escapedString, start + 1, scanner.offset - 1)
    scanner.skipSpace()
    let colon = try scanner.peek()
    guard colon == UInt8(ascii: ":") else { throw .unexpected(colon, "after object key") }
    scanner.offset += 1
    try value(&scanner)
  }

  /// Reads the next element, or the end, of the innermost array.
  private mutating func continueArray(
    _ container: Int,
    _ scanner: inout JSONScanner
  ) throws(JSONSyntaxError) {
    scanner.skipSpace()
    let byte = try scanner.peek()
    if byte == UInt8(ascii: "]") { return close(container, &scanner) }
    if rows.count > container + 1 {
      guard byte == UInt8(ascii: ",") else { throw .unexpected(byte, "after array element") }
      scanner.offset += 1
    }
    try value(&scanner)
  }
}

import Base
import Proto

/// Why a JSON value is not a message of its type.
struct JSONMismatch: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }

  /// A value of the wrong kind; worded as etcd's gateway does, which is written in Go.
  static func kind(_ value: String, into type: String) -> JSONMismatch {
    JSONMismatch("json: cannot unmarshal \(value) into Go value of type \(type)")
  }
}

/// Makes protobuf bytes of one JSON value on a tape.
///
/// As in proto3's JSON mapping: fields by either of their names, 64-bit integers as numbers or
/// strings, enums as names or numbers, bytes as base64, null for a default. Of a name that comes
/// twice, or of two fields of one oneof, the last counts; unknown names are passed over.
struct JSONReading {
  let text: UnsafeRawBufferPointer
  let rows: ContiguousArray<JSONTape.Row>
  let schema: JSONSchema

  /// How much of a wrong number an error text repeats, in bytes.
  private static let quotedBytesMax = 64

  private func text(_ row: JSONTape.Row) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: text[row.range])
  }

  /// Appends the fields of the message whose object, or null, is at `place`.
  func message(
    _ type: Int,
    at place: Int,
    into writer: inout ByteWriter
  ) throws(JSONMismatch) {
    let row = rows[place]
    if row.kind == .null { return }
    guard row.kind == .object else {
      throw .kind(Self.name(row.kind), into: "map[string]json.RawMessage")
    }
    let fields = schema.messages[type].fields
    let chosen = chooseValues(type, place)
    for (position, field) in fields.enumerated() where chosen[position] != 0 {
      try self.field(field, at: chosen[position], into: &writer)
    }
  }

  /// The row of each field's value, 0 for those that are not there.
  private func chooseValues(_ type: Int, _ place: Int) -> ContiguousArray<Int> {
    let message = schema.messages[type]
    var chosen = ContiguousArray(repeating: 0, count: message.fields.count)
    let end = Int(rows[place].next)
    var key = place + 1
    while key < end {
      let value = key + 1
      let name =
        rows[key].kind == .escapedString
        ? unescaped(text(rows[key])) : String(decoding: text(rows[key]), as: UTF8.self)
      if let position = message.byName[name] {
        let isNull = rows[value].kind == .null
        chosen[position] = isNull ? 0 : value
        if let oneof = message.fields[position].oneof, !isNull {
          for (other, field) in message.fields.enumerated()
          where field.oneof == oneof && other != position {
            chosen[other] = 0
          }
        }
      }
      key = Int(rows[value].next)
    }
    return chosen
  }

  private func field(
    _ field: JSONSchema.Field,
    at place: Int,
    into writer: inout ByteWriter
  ) throws(JSONMismatch) {
    guard field.isRepeated else {
      return try value(field, at: place, isExplicit: field.oneof != nil, into: &writer)
    }
    guard rows[place].kind == .array else {
      throw .kind(Self.name(rows[place].kind), into: "[]json.RawMessage")
    }
    let end = Int(rows[place].next)
    let start = writer.count
    var element = place + 1
    while element < end {
      guard rows[element].kind != .null else {
        throw JSONMismatch("json: null element in repeated field \"\(field.name)\"")
      }
      if field.kind.isNumber {
        writer.append(varint: try varint(field.kind, at: element))
      } else {
        try value(field, at: element, isExplicit: true, into: &writer)
      }
      element = Int(rows[element].next)
    }
    // Numbers are packed into one field.
    if field.kind.isNumber, writer.count > start { writer.closeField(field.number, since: start) }
  }

  /// Appends one value with its tag; `isExplicit`: also when it is the default.
  private func value(
    _ field: JSONSchema.Field,
    at place: Int,
    isExplicit: Bool,
    into writer: inout ByteWriter
  ) throws(JSONMismatch) {
    switch field.kind {
    case .message(let type):
      let start = writer.count
      try message(type, at: place, into: &writer)
      writer.closeField(field.number, since: start)
    case .string:
      let string = try self.string(at: place)
      guard isExplicit || !string.isEmpty else { return }
      let start = writer.count
      writer.append(list: Array(string.utf8))
      writer.closeField(field.number, since: start)
    case .bytes:
      let start = writer.count
      try bytes(at: place, into: &writer)
      if isExplicit || writer.count > start { writer.closeField(field.number, since: start) }
    default:
      let number = try varint(field.kind, at: place)
      guard isExplicit || number != 0 else { return }
      writer.append(varint: UInt64(field.number << 3))
      writer.append(varint: number)
    }
  }

  private func string(at place: Int) throws(JSONMismatch) -> String {
    let row = rows[place]
    switch row.kind {
    case .plainString: return String(decoding: text(row), as: UTF8.self)
    case .escapedString: return unescaped(text(row))
    default: throw .kind(Self.name(row.kind), into: "string")
    }
  }

  private func bytes(at place: Int, into writer: inout ByteWriter) throws(JSONMismatch) {
    let row = rows[place]
    let wrong: Int?
    switch row.kind {
    case .plainString:
      wrong = JSONBase64.decode(text(row), into: &writer)
    case .escapedString:
      var content = unescaped(text(row))
      wrong = content.withUTF8 {
        JSONBase64.decode(UnsafeRawBufferPointer($0), into: &writer)
      }
    default:
      throw .kind(Self.name(row.kind), into: "[]uint8")
    }
    if let wrong { throw JSONMismatch("illegal base64 data at input byte \(wrong)") }
  }

  private func varint(
    _ kind: JSONSchema.Kind,
    at place: Int
  ) throws(JSONMismatch) -> UInt64 {
    let row = rows[place]
    switch kind {
    case .bool:
      switch row.kind {
      case .true: return 1
      case .false: return 0
      default: throw .kind(Self.name(row.kind), into: "bool")
      }
    case .enum(let names):
      if row.kind == .plainString || row.kind == .escapedString {
        let name = try string(at: place)
        guard let number = names.numbers[name] else {
          throw JSONMismatch("unknown value \(Self.quote(name)) for enum \(names.name)")
        }
        return Self.varint(number)
      }
      return Self.varint(try integer(at: place, Int32.self))
    case .int32: return Self.varint(try integer(at: place, Int32.self))
    case .uint32: return UInt64(try integer(at: place, UInt32.self))
    case .uint64: return try integer(at: place, UInt64.self)
    default: return UInt64(bitPattern: try integer(at: place, Int64.self))
    }
  }

  private static func varint(_ value: Int32) -> UInt64 {
    UInt64(bitPattern: Int64(value))
  }

  /// An integer that stands as a number or in a string.
  private func integer<Value: FixedWidthInteger>(
    at place: Int,
    _: Value.Type
  ) throws(JSONMismatch) -> Value {
    let row = rows[place]
    let goName = "\(Value.self)".lowercased()
    guard row.kind == .number || row.kind == .plainString else {
      throw .kind(Self.name(row.kind), into: goName)
    }
    var digits = text(row)[...]
    if row.kind == .plainString {
      digits = digits.drop { $0 == 0x20 }
      guard !digits.isEmpty else { throw JSONMismatch("unexpected end of JSON input") }
    }
    guard let value = Self.integer(digits, Value.self) else {
      let quoted = unescaped(UnsafeRawBufferPointer(rebasing: digits.prefix(Self.quotedBytesMax)))
      let more = digits.count > Self.quotedBytesMax ? "..." : ""
      throw .kind("number \(quoted)\(more)", into: goName)
    }
    return value
  }

  /// Nil when it is no plain decimal number or does not fit. A leading zero is let pass.
  private static func integer<Value: FixedWidthInteger>(
    _ text: Slice<UnsafeRawBufferPointer>,
    _: Value.Type
  ) -> Value? {
    let isNegative = text.first == UInt8(ascii: "-")
    let digits = isNegative ? text.dropFirst() : text
    guard !digits.isEmpty else { return nil }
    var value: Value = 0
    for digit in digits {
      guard JSONScanner.isDigit(digit) else { return nil }
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let one = Value(digit - UInt8(ascii: "0"))
      let (sum, carried) =
        isNegative ? tens.subtractingReportingOverflow(one) : tens.addingReportingOverflow(one)
      guard !overflow, !carried else { return nil }
      value = sum
    }
    return value
  }

  private static func quote(_ name: String) -> String {
    var writer = ByteWriter()
    writer.append(quoted: name)
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  private static func name(_ kind: JSONTape.Kind) -> String {
    switch kind {
    case .null: "null"
    case .true, .false: "bool"
    case .number: "number"
    case .plainString, .escapedString: "string"
    case .object: "object"
    case .array: "array"
    }
  }
}

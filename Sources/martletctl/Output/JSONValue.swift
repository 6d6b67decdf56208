import Proto

/// JSON as Go's encoder writes it: fields in their order, bytes in base64, `<`, `>` and `&` escaped.
enum JSONValue {
  case null
  case bool(Bool)
  case number(String)
  case string(String)
  case bytes([UInt8])
  case array([JSONValue])
  case object([(name: String, value: JSONValue)])
  /// A message with the names of its fields; what is not set is left out.
  case message(any Message)

  static func integer(_ number: some BinaryInteger) -> JSONValue { .number(String(number)) }

  func encoded() -> [UInt8] {
    var writer = JSONWriter()
    writer.write(self)
    return writer.bytes
  }
}

struct JSONWriter {
  private(set) var bytes: [UInt8] = []

  mutating func write(_ value: JSONValue) {
    switch value {
    case .null: append("null")
    case .bool(let value): append(value ? "true" : "false")
    case .number(let text): append(text)
    case .string(let text): string(text)
    case .bytes(let content): content.withUnsafeBytes { base64($0) }
    case .array(let values):
      append("[")
      for (index, value) in values.enumerated() {
        if index > 0 { append(",") }
        write(value)
      }
      append("]")
    case .object(let fields):
      append("{")
      for (index, field) in fields.enumerated() {
        if index > 0 { append(",") }
        string(field.name)
        append(":")
        write(field.value)
      }
      append("}")
    case .message(let message): self.message(message)
    }
  }

  private mutating func append(_ text: String) { bytes += text.utf8 }

  private mutating func string(_ text: String) {
    append("\"")
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": append("\\\"")
      case "\\": append("\\\\")
      case "\n": append("\\n")
      case "\r": append("\\r")
      case "\t": append("\\t")
      case "<", ">", "&", "\u{2028}", "\u{2029}": append("\\u\(GoText.hex(scalar.value, 4))")
      case _ where scalar.value < 0x20: append("\\u\(GoText.hex(scalar.value, 4))")
      default: append(String(Character(scalar)))
      }
    }
    append("\"")
  }

  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
  )

  private mutating func base64(_ content: UnsafeRawBufferPointer) {
    bytes.reserveCapacity(bytes.count + content.count * 4 / 3 + 6)
    bytes.append(UInt8(ascii: "\""))
    var index = 0
    while index < content.count {
      let rest = min(3, content.count - index)
      var group: UInt32 = 0
      for offset in 0..<3 {
        group = group << 8 | (offset < rest ? UInt32(content[index + offset]) : 0)
      }
      for place in 0..<4 {
        let digit = Int(group >> UInt32(18 - 6 * place) & 63)
        bytes.append(place <= rest ? Self.alphabet[digit] : UInt8(ascii: "="))
      }
      index += 3
    }
    bytes.append(UInt8(ascii: "\""))
  }

  // MARK: Messages

  private mutating func message(_ message: any Message) {
    let name = type(of: message).messageName
    guard let descriptor = MessageDescriptor.named(name) else {
      preconditionFailure("there is no message \(name)")
    }
    message.encoded().withUnsafeBytes { object(descriptor, $0) }
  }

  /// Go keeps the alternatives of a message in a field of an interface type.
  private static let unions = [
    "etcdserverpb.ResponseOp": "Response", "etcdserverpb.RequestOp": "Request",
  ]

  private mutating func object(_ descriptor: MessageDescriptor, _ content: UnsafeRawBufferPointer) {
    var scanner = WireScanner(content)
    var values: [Int: [WireScanner.Value]] = [:]
    // The bytes are our own encoder's.
    while let field = try? scanner.next() { values[field.number, default: []].append(field.value) }
    let union = Self.unions[descriptor.name]
    append("{")
    var isFirst = true
    for field in descriptor.fields {
      guard let found = values[field.number], let last = found.last else { continue }
      if !isFirst { append(",") }
      isFirst = false
      if let union, field.oneof != nil {
        append("\"\(union)\":{\"\(field.name)\":")
        self.value(last, field.kind)
        append("}")
        continue
      }
      append("\"\(field.name)\":")
      if field.isRepeated {
        list(found, field.kind)
      } else {
        value(last, field.kind)
      }
    }
    append("}")
  }

  private mutating func list(_ values: [WireScanner.Value], _ kind: FieldDescriptor.Kind) {
    append("[")
    for (index, value) in values.enumerated() {
      if index > 0 { append(",") }
      self.value(value, kind)
    }
    append("]")
  }

  private mutating func value(_ value: WireScanner.Value, _ kind: FieldDescriptor.Kind) {
    switch (value, kind) {
    case (.content(let content), .message(let descriptor)): object(descriptor, content)
    case (.content(let content), .string): string(String(decoding: content, as: UTF8.self))
    case (.content(let content), _): base64(content)
    case (.varint(let number), .bool): append(number == 0 ? "false" : "true")
    case (.varint(let number), .uint64), (.varint(let number), .uint32): append(String(number))
    case (.varint(let number), _), (.fixed64(let number), _):
      append(String(Int64(bitPattern: number)))
    case (.fixed32(let number), _): append(String(number))
    }
  }
}

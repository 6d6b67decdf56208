package import CProto

/// What is known of a message type at run time: enough to transcode it to and from JSON.
package struct MessageDescriptor: Sendable, Hashable {
  /// Immutable C data that lives as long as the process.
  nonisolated(unsafe) private let table: UnsafePointer<martlet_message>

  package init(_ table: UnsafePointer<martlet_message>) {
    self.table = table
  }

  /// The message at `position` in the order of full names.
  init(at position: Int) {
    precondition(position >= 0 && position < MessageDescriptor.count)
    table = martlet_message_at(UInt32(position))
  }

  /// How many message types there are.
  package static var count: Int { Int(martlet_message_count) }

  /// Every message type, ordered by full name.
  package static var all: [MessageDescriptor] { (0..<count).map { MessageDescriptor(at: $0) } }

  /// The message type of that full name, `etcdserverpb.PutRequest`.
  package static func named(_ name: String) -> MessageDescriptor? {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      let found = MessageDescriptor(at: middle)
      if found.name == name { return found }
      if found.name.utf8.lexicographicallyPrecedes(name.utf8) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return nil
  }

  /// The full name: `etcdserverpb.PutRequest`.
  package var name: String { String(cString: table.pointee.descriptor.pointee.name) }

  /// The fields, ordered by number.
  package var fields: [FieldDescriptor] {
    (0..<Int(table.pointee.field_count)).map { FieldDescriptor(table, at: $0) }
  }

  /// The field that JSON input calls by `name`: its proto name or its JSON name.
  package func field(named name: String) -> FieldDescriptor? {
    fields.first { $0.name == name || $0.jsonName == name }
  }

  /// Decodes a message of this type in the arena; for code that follows descriptors instead of
  /// types. The result is the C struct, into which `FieldDescriptor.offset` points.
  package func decode(
    _ bytes: UnsafeRawBufferPointer,
    in arena: Arena
  ) throws(DecodeError) -> UnsafeRawPointer {
    var status = MARTLET_OK
    let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    guard let message = martlet_decode(table, start, bytes.count, arena.raw, &status) else {
      throw DecodeError(status)
    }
    return UnsafeRawPointer(message)
  }
}

/// One field of a message type.
package struct FieldDescriptor: Sendable {
  package enum Kind: Sendable {
    case int32
    case int64
    case uint32
    case uint64
    case bool
    case string
    case bytes
    case `enum`(EnumDescriptor)
    case message(MessageDescriptor)
  }

  /// The name in the .proto file: `range_end`.
  package let name: String
  /// The name that proto3's JSON mapping prints: `rangeEnd`.
  package let jsonName: String
  package let number: Int
  package let kind: Kind
  package let isRepeated: Bool
  /// Which oneof of the message the field belongs to, counted from 0.
  package let oneof: Int?
  /// Where the value lies in the C struct, in bytes. A repeated field has a pointer there.
  package let offset: Int
  /// Where a repeated field has its count (a word), or a oneof the number of its present field
  /// (32 bits); 0 for other fields.
  package let quantifierOffset: Int

  init(_ table: UnsafePointer<martlet_message>, at position: Int) {
    let field = table.pointee.fields[position]
    let descriptor = table.pointee.descriptor.pointee.fields[position]
    name = String(cString: descriptor.name)
    jsonName = String(cString: field.json_name)
    number = Int(field.number)
    isRepeated = field.repeated != 0
    oneof = field.oneof == 0 ? nil : Int(field.oneof) - 1
    offset = Int(descriptor.offset)
    quantifierOffset = Int(descriptor.quantifier_offset)
    switch martlet_kind(UInt32(field.kind)) {
    case MARTLET_INT32: kind = .int32
    case MARTLET_INT64: kind = .int64
    case MARTLET_UINT32: kind = .uint32
    case MARTLET_UINT64: kind = .uint64
    case MARTLET_BOOL: kind = .bool
    case MARTLET_STRING: kind = .string
    case MARTLET_BYTES: kind = .bytes
    case MARTLET_ENUM:
      kind = .enum(
        EnumDescriptor(descriptor.descriptor.assumingMemoryBound(to: ProtobufCEnumDescriptor.self))
      )
    default: kind = .message(MessageDescriptor(field.message))
    }
  }
}

/// The names of an enum's values.
package struct EnumDescriptor: Sendable {
  /// The full name: `etcdserverpb.RangeRequest.SortOrder`.
  package let name: String
  /// Every value, ordered by number.
  package let values: [(name: String, number: Int32)]

  init(_ descriptor: UnsafePointer<ProtobufCEnumDescriptor>) {
    name = String(cString: descriptor.pointee.name)
    values = UnsafeBufferPointer(
      start: descriptor.pointee.values,
      count: Int(descriptor.pointee.n_values)
    ).map { (name: String(cString: $0.name), number: Int32($0.value)) }
  }

  /// The name of a number, nil when it has none.
  package func name(of number: Int32) -> String? {
    values.first { $0.number == number }?.name
  }

  /// The number of a name, nil when there is no such value.
  package func number(of name: String) -> Int32? {
    values.first { $0.name == name }?.number
  }
}

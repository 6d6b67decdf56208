import Proto

/// The message types as transcoding looks at them: made once of the descriptors, so that a request
/// looks up no C tables and builds no names.
final class JSONSchema: Sendable {
  enum Kind: Sendable {
    case int32
    case int64
    case uint32
    case uint64
    case bool
    case string
    case bytes
    case `enum`(EnumNames)
    /// A message, as its place in `messages`.
    case message(Int)

    /// A varint on the wire.
    var isNumber: Bool {
      switch self {
      case .int32, .int64, .uint32, .uint64, .bool, .enum: true
      case .string, .bytes, .message: false
      }
    }
  }

  struct Field: Sendable {
    let name: String
    /// The name as output has it: in quotes, with its colon.
    let label: [UInt8]
    let number: Int
    let kind: Kind
    let isRepeated: Bool
    let oneof: Int?
    /// See `FieldDescriptor`.
    let offset: Int
    let quantifierOffset: Int
  }

  struct MessageType: Sendable {
    let descriptor: MessageDescriptor
    /// Ordered by number.
    let fields: [Field]
    /// Places in `fields`, by proto name and by JSON name.
    let byName: [String: Int]
  }

  /// The names of an enum, both ways.
  final class EnumNames: Sendable {
    /// As error texts name the type: `etcdserverpb.RangeRequest_SortOrder`.
    let name: String
    let numbers: [String: Int32]
    let names: [Int32: String]

    init(_ descriptor: EnumDescriptor) {
      let parts = descriptor.name.split(separator: ".", maxSplits: 1).map(String.init)
      let inner = parts.last?.split(separator: ".").joined(separator: "_") ?? ""
      name = parts.count > 1 ? "\(parts[0]).\(inner)" : inner
      numbers = Dictionary(descriptor.values.map { ($0.name, $0.number) }) { first, _ in first }
      names = Dictionary(descriptor.values.map { ($0.number, $0.name) }) { first, _ in first }
    }
  }

  /// Every message type of the project.
  static let all = JSONSchema(MessageDescriptor.all)

  let messages: [MessageType]
  private let positions: [MessageDescriptor: Int]

  private init(_ descriptors: [MessageDescriptor]) {
    let positions = Dictionary(
      uniqueKeysWithValues: descriptors.enumerated().map { ($0.element, $0.offset) }
    )
    self.positions = positions
    messages = descriptors.map { Self.type($0, positions) }
  }

  /// The place of a message type in `messages`.
  func position(of descriptor: MessageDescriptor) -> Int {
    guard let position = positions[descriptor] else {
      preconditionFailure("no message \(descriptor.name)")
    }
    return position
  }

  private static func type(
    _ descriptor: MessageDescriptor,
    _ positions: [MessageDescriptor: Int]
  ) -> MessageType {
    let found = descriptor.fields
    var byName: [String: Int] = [:]
    for (place, field) in found.enumerated() {
      byName[field.jsonName] = place
    }
    // A proto name goes before another field's JSON name.
    for (place, field) in found.enumerated() {
      byName[field.name] = place
    }
    let fields = found.map { field in
      Field(
        name: field.name,
        label: Array("\"\(field.name)\":".utf8),
        number: field.number,
        kind: kind(field.kind, positions),
        isRepeated: field.isRepeated,
        oneof: field.oneof,
        offset: field.offset,
        quantifierOffset: field.quantifierOffset
      )
    }
    return MessageType(descriptor: descriptor, fields: fields, byName: byName)
  }

  private static func kind(
    _ kind: FieldDescriptor.Kind,
    _ positions: [MessageDescriptor: Int]
  ) -> Kind {
    switch kind {
    case .int32: .int32
    case .int64: .int64
    case .uint32: .uint32
    case .uint64: .uint64
    case .bool: .bool
    case .string: .string
    case .bytes: .bytes
    case .enum(let descriptor): .enum(EnumNames(descriptor))
    case .message(let descriptor): .message(positions[descriptor] ?? 0)
    }
  }
}

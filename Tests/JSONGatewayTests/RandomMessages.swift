import Base
import Proto

/// Random messages of any type, in canonical encoding.
enum RandomMessages {
  static let texts = [
    "", "a", "etcd", "nul\0inside", "héllo", "雨燕", "🐦", "\"<&>\\\n\u{2028}", "\u{7F}\u{1}",
  ]

  static func message(
    _ descriptor: MessageDescriptor,
    _ random: inout SeededRandom,
    depth: Int
  ) -> [UInt8] {
    var chosen: [Int: Int] = [:]
    for oneof in Set(descriptor.fields.compactMap(\.oneof)).sorted() {
      chosen[oneof] = random.pick(descriptor.fields.filter { $0.oneof == oneof }).number
    }
    var writer = ByteWriter()
    for field in descriptor.fields {
      if let oneof = field.oneof, chosen[oneof] != field.number { continue }
      guard random.chance(descriptor.fields.count > 20 ? 20 : 70) else { continue }
      append(field, &random, depth: depth, to: &writer)
    }
    return [UInt8](writer.bytes)
  }

  private static func append(
    _ field: FieldDescriptor,
    _ random: inout SeededRandom,
    depth: Int,
    to writer: inout ByteWriter
  ) {
    let count = field.isRepeated ? random.below(4) : 1
    // What proto3 leaves out: defaults of fields that are neither repeated nor in a oneof.
    let leavesOut = !field.isRepeated && field.oneof == nil
    var packed = ByteWriter()
    for _ in 0..<count {
      switch field.kind {
      case .message(let descriptor):
        guard depth > 0 else { return }
        let inner = message(descriptor, &random, depth: depth - 1)
        inner.withUnsafeBytes { writer.append(field: field.number, content: $0) }
      case .string:
        let content = Array(random.pick(texts).utf8)
        if content.isEmpty && leavesOut { continue }
        content.withUnsafeBytes { writer.append(field: field.number, content: $0) }
      case .bytes:
        let length = random.pick([0, 1, 2, 3, 9, 140])
        let content = (0..<length).map { _ in UInt8(random.below(256)) }
        if content.isEmpty && leavesOut { continue }
        content.withUnsafeBytes { writer.append(field: field.number, content: $0) }
      default:
        let value = number(field.kind, &random)
        if field.isRepeated {
          packed.append(varint: value)
        } else if value != 0 || !leavesOut {
          writer.append(varint: UInt64(field.number << 3))
          writer.append(varint: value)
        }
      }
    }
    if packed.count > 0 { writer.append(field: field.number, content: packed.bytes) }
  }

  private static func number(
    _ kind: FieldDescriptor.Kind,
    _ random: inout SeededRandom
  ) -> UInt64 {
    let bits = random.next() >> UInt64(random.pick([0, 1, 7, 32, 33, 50, 57, 63]))
    switch kind {
    case .bool: return bits & 1
    case .uint32: return bits & 0xFFFF_FFFF
    case .int32, .enum: return UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: bits)))
    default: return bits
    }
  }
}

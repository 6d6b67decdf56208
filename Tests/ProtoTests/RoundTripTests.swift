import Base
import Proto
import Testing

/// Random messages of every type, encoded by the test itself after the type's descriptor.
struct RoundTripTests {
  static let texts = ["", "a", "etcd", "nul\0inside", "héllo", "雨燕", "🐦"]

  /// The canonical encoding of a random message.
  static func randomMessage(
    _ descriptor: MessageDescriptor,
    _ random: inout SeededRandom,
    depth: Int
  ) -> [UInt8] {
    var chosen: [Int: Int] = [:]
    for oneof in Set(descriptor.fields.compactMap(\.oneof)).sorted() {
      chosen[oneof] = random.pick(descriptor.fields.filter { $0.oneof == oneof }).number
    }
    var result: [UInt8] = []
    for field in descriptor.fields {
      if let oneof = field.oneof, chosen[oneof] != field.number { continue }
      guard random.chance(descriptor.fields.count > 20 ? 20 : 70) else { continue }
      result += randomField(field, &random, depth: depth)
    }
    return result
  }

  static func randomField(
    _ field: FieldDescriptor,
    _ random: inout SeededRandom,
    depth: Int
  ) -> [UInt8] {
    let count = field.isRepeated ? random.below(4) : 1
    // What proto3 leaves out: defaults of fields that are neither repeated nor in a oneof.
    let leavesOut = !field.isRepeated && field.oneof == nil
    switch field.kind {
    case .message(let descriptor):
      if depth == 0 { return [] }
      return (0..<count).flatMap { _ in
        Wire.content(field.number, randomMessage(descriptor, &random, depth: depth - 1))
      }
    case .string, .bytes:
      return (0..<count).flatMap { _ -> [UInt8] in
        var content = Array(random.pick(texts).utf8)
        if case .bytes = field.kind {
          content = (0..<random.pick([0, 1, 9, 140])).map { _ in UInt8(random.below(256)) }
        }
        return content.isEmpty && leavesOut ? [] : Wire.content(field.number, content)
      }
    default:
      let numbers = (0..<count).map { _ in randomNumber(field.kind, &random) }
      if field.isRepeated {
        return count == 0 ? [] : Wire.content(field.number, numbers.flatMap { Wire.varint($0) })
      }
      return numbers[0] == 0 && leavesOut ? [] : Wire.number(field.number, numbers[0])
    }
  }

  static func randomNumber(_ kind: FieldDescriptor.Kind, _ random: inout SeededRandom) -> UInt64 {
    let bits = random.next() >> random.pick([0, 1, 7, 32, 33, 50, 57, 63])
    switch kind {
    case .bool: return bits & 1
    case .uint32: return bits & 0xFFFF_FFFF
    case .int32, .enum:
      return UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: bits)))
    default: return bits
    }
  }

  @Test
  func everyTypeEncodesToTheBytesItWasDecodedFrom() throws {
    let seed: UInt64 = 0x6D61_7274_6C65_7401
    var random = SeededRandom(seed: seed)
    for (position, type) in MessageDescriptor.valueTypes.enumerated() {
      let descriptor = MessageDescriptor.all[position]
      #expect(descriptor.name == type.messageName)
      for _ in 0..<40 {
        let bytes = Self.randomMessage(descriptor, &random, depth: 4)
        try check(type, bytes)
      }
    }
  }

  private func check<Value: Message>(_ type: Value.Type, _ bytes: [UInt8]) throws {
    let value = try Value(decoding: bytes)
    #expect(value.encoded() == bytes, "\(Value.messageName) \(hex(bytes))")
    #expect(value.encodedSize == bytes.count)
    let again = try Value(decoding: value.encoded())
    #expect(again == value)
    #expect(again.hashValue == value.hashValue)
    if bytes.isEmpty {
      #expect(value == Value())
    } else {
      #expect(value != Value())
    }
  }

  @Test
  func encodingAppendsToWhatIsThere() {
    var writer = ByteWriter(capacity: 16)
    writer.append(byte: 0xAA)
    Etcdserverpb.PutRequest(key: [1], value: Array(repeating: 2, count: 100)).encode(into: &writer)
    writer.append(byte: 0xBB)
    let expected = [0xAA] + Wire.content(1, [1]) + Wire.content(2, Array(repeating: 2, count: 100))
    #expect([UInt8](writer.bytes) == expected + [0xBB])
  }

  @Test
  func threadsDoNotShareTheirScratchMemory() async throws {
    let results = await withTaskGroup(of: Bool.self) { group in
      for task in 0..<16 {
        group.addTask {
          (0..<2_000).allSatisfy { round in
            let value = Etcdserverpb.PutRequest(
              key: Array("key \(task) \(round)".utf8),
              value: Array(repeating: UInt8(task), count: round % 700)
            )
            return (try? Etcdserverpb.PutRequest(decoding: value.encoded())) == value
          }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(results == Array(repeating: true, count: 16))
  }
}

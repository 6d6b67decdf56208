import Base
import Proto

/// Makes JSON of a decoded message, as etcd's gateway prints it: fields in the order of their
/// numbers under their proto names, defaults left out, 64-bit integers as strings, enums as names,
/// bytes as base64.
struct JSONWriting {
  let schema: JSONSchema

  /// Appends the object of the message whose C struct is at `message`.
  func message(_ type: Int, at message: UnsafeRawPointer, into writer: inout ByteWriter) {
    writer.append(byte: UInt8(ascii: "{"))
    var isFirst = true
    for field in schema.messages[type].fields where isPresent(field, message) {
      if !isFirst { writer.append(byte: UInt8(ascii: ",")) }
      isFirst = false
      writer.append(list: field.label)
      if field.isRepeated {
        array(field, message, into: &writer)
      } else {
        value(field, at: message + field.offset, into: &writer)
      }
    }
    writer.append(byte: UInt8(ascii: "}"))
  }

  private func isPresent(_ field: JSONSchema.Field, _ message: UnsafeRawPointer) -> Bool {
    let place = message + field.offset
    if field.isRepeated { return count(field, message) > 0 }
    if field.oneof != nil {
      return (message + field.quantifierOffset).load(as: UInt32.self) == UInt32(field.number)
    }
    switch field.kind {
    case .int64, .uint64: return place.load(as: UInt64.self) != 0
    case .string, .bytes: return place.load(as: Int.self) != 0
    case .message: return place.load(as: UnsafeRawPointer?.self) != nil
    case .int32, .uint32, .bool, .enum: return place.load(as: UInt32.self) != 0
    }
  }

  private func count(_ field: JSONSchema.Field, _ message: UnsafeRawPointer) -> Int {
    (message + field.quantifierOffset).load(as: Int.self)
  }

  private func array(
    _ field: JSONSchema.Field,
    _ message: UnsafeRawPointer,
    into writer: inout ByteWriter
  ) {
    writer.append(byte: UInt8(ascii: "["))
    if let elements = (message + field.offset).load(as: UnsafeRawPointer?.self) {
      for index in 0..<count(field, message) {
        if index > 0 { writer.append(byte: UInt8(ascii: ",")) }
        value(field, at: elements + index * Self.stride(field.kind), into: &writer)
      }
    }
    writer.append(byte: UInt8(ascii: "]"))
  }

  /// The size of an element in a repeated field's array.
  private static func stride(_ kind: JSONSchema.Kind) -> Int {
    switch kind {
    case .int32, .uint32, .bool, .enum: 4
    case .int64, .uint64, .message: 8
    // A length and a pointer.
    case .string, .bytes: 16
    }
  }

  private func value(
    _ field: JSONSchema.Field,
    at place: UnsafeRawPointer,
    into writer: inout ByteWriter
  ) {
    switch field.kind {
    case .int32: writer.append(decimal: place.load(as: Int32.self))
    case .uint32: writer.append(decimal: place.load(as: UInt32.self))
    case .int64:
      writer.append(byte: UInt8(ascii: "\""))
      writer.append(decimal: place.load(as: Int64.self))
      writer.append(byte: UInt8(ascii: "\""))
    case .uint64:
      writer.append(byte: UInt8(ascii: "\""))
      writer.append(decimal: place.load(as: UInt64.self))
      writer.append(byte: UInt8(ascii: "\""))
    case .bool:
      writer.append(text: place.load(as: Int32.self) != 0 ? "true" : "false")
    case .enum(let names):
      let number = place.load(as: Int32.self)
      if let name = names.names[number] {
        writer.append(quoted: name)
      } else {
        writer.append(decimal: number)
      }
    case .string:
      writer.append(quoted: Self.content(at: place))
    case .bytes:
      writer.append(byte: UInt8(ascii: "\""))
      JSONBase64.append(Self.content(at: place), to: &writer)
      writer.append(byte: UInt8(ascii: "\""))
    case .message(let type):
      if let message = place.load(as: UnsafeRawPointer?.self) {
        self.message(type, at: message, into: &writer)
      } else {
        // Decoding makes no such field; an empty object is what it would mean.
        writer.append(text: "{}")
      }
    }
  }

  /// What a string or bytes field holds.
  private static func content(at place: UnsafeRawPointer) -> UnsafeRawBufferPointer {
    let length = place.load(as: Int.self)
    let start = (place + MemoryLayout<Int>.size).load(as: UnsafeRawPointer?.self)
    return UnsafeRawBufferPointer(start: length > 0 ? start : nil, count: start == nil ? 0 : length)
  }
}

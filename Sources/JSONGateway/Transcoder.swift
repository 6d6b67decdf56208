package import Base
package import Proto

/// Between JSON and protobuf bytes, for every message type that there is.
///
/// Both directions take time linear in the input, but for the depth of the nesting, which is bounded;
/// memory is bounded by a multiple of the input. Thread-safe.
package enum Transcoder {
  /// Why JSON could not be read: a text for the client.
  package struct InputError: Error, CustomStringConvertible {
    package let description: String
  }

  /// Decoding a message may take this many bytes for each of its own, besides the usual.
  private static let decodingGrowthMax = 8

  /// The protobuf bytes of the first JSON value in `text`; what follows it is not looked at. Nothing
  /// at all is an empty message.
  package static func message(
    _ descriptor: MessageDescriptor,
    fromJSON text: [UInt8]
  ) throws(InputError) -> [UInt8] {
    var sequence = JSONMessageSequence(descriptor, text: text)
    return try sequence.next() ?? []
  }

  /// Appends the JSON of a message to `writer`. Throws when the bytes are no message of that type.
  package static func appendJSON(
    _ descriptor: MessageDescriptor,
    of message: UnsafeRawBufferPointer,
    to writer: inout ByteWriter
  ) throws(DecodeError) {
    let schema = JSONSchema.all
    let arena = Arena(bytesMax: Arena.defaultBytesMax + message.count * Self.decodingGrowthMax)
    let decoded = try descriptor.decode(message, in: arena)
    let type = schema.position(of: descriptor)
    JSONWriting(schema: schema).message(type, at: decoded, into: &writer)
    withExtendedLifetime(arena) {}
  }

  /// The JSON of a message.
  package static func json(
    _ descriptor: MessageDescriptor,
    of message: [UInt8]
  ) throws(DecodeError) -> [UInt8] {
    var writer = ByteWriter(capacity: message.count * 2 + 64)
    try message.withUnsafeBufferPointer { bytes throws(DecodeError) in
      try appendJSON(descriptor, of: UnsafeRawBufferPointer(bytes), to: &writer)
    }
    return [UInt8](writer.bytes)
  }
}

/// JSON values that stand one after the other in one text, as messages: the body of a request
/// stream.
package struct JSONMessageSequence {
  private let type: Int
  private let text: [UInt8]
  private var offset = 0
  private var tape = JSONTape()

  package init(_ descriptor: MessageDescriptor, text: [UInt8]) {
    type = JSONSchema.all.position(of: descriptor)
    self.text = text
  }

  /// The protobuf bytes of the next message; nil behind the last. Not to be called again after an
  /// error.
  package mutating func next() throws(Transcoder.InputError) -> [UInt8]? {
    let text = text
    do {
      return try text.withUnsafeBytes { text throws -> [UInt8]? in
        guard try tape.read(text, at: &offset) else { return nil }
        var writer = ByteWriter(capacity: 64)
        let reading = JSONReading(text: text, rows: tape.rows, schema: .all)
        try reading.message(type, at: 0, into: &writer)
        return [UInt8](writer.bytes)
      }
    } catch {
      throw Transcoder.InputError(description: "\(error)")
    }
  }
}

public import Base
public import CProto

/// A protobuf message as a Swift value. Every field has proto3's default until it is set.
public protocol Message: Hashable, Sendable {
  /// A message with every field at its default.
  init()

  /// Decodes a whole message. The bytes are not referred to afterwards; fields that the type does
  /// not know are dropped.
  init(decoding bytes: UnsafeRawBufferPointer) throws(DecodeError)

  /// Appends the message's canonical encoding: fields ordered by number, defaults left out.
  func encode(into writer: inout ByteWriter)

  /// How many bytes `encode(into:)` appends.
  var encodedSize: Int { get }

  /// The full name of the message's type: `etcdserverpb.PutRequest`.
  static var messageName: String { get }
}

extension Message {
  /// Decodes a whole message.
  public init(decoding bytes: [UInt8]) throws(DecodeError) {
    self = try bytes.withUnsafeBufferPointer { bytes throws(DecodeError) in
      try Self(decoding: UnsafeRawBufferPointer(bytes))
    }
  }

  /// The message's canonical encoding.
  public func encoded() -> [UInt8] {
    var writer = ByteWriter()
    encode(into: &writer)
    return [UInt8](writer.bytes)
  }
}

/// A protobuf enum. Open, as proto3 has it: a value without a name is kept, not refused.
public protocol ProtoEnum: RawRepresentable, Hashable, Sendable, BitwiseCopyable,
  CustomStringConvertible
where RawValue == Int32 {
  init(rawValue: Int32)
}

/// A message whose C struct is reachable; for the generated code.
package protocol WireMessage: Message {
  associatedtype View: MessageView

  /// Copies what the view shows.
  init(_ view: View)

  /// The message as a C struct in the arena, which must not have a bound.
  func build(in arena: ArenaPointer) -> UnsafeMutablePointer<View.CMessage>
}

/// A decoded message where it lies in its arena. A trivial value; valid until the arena's next
/// reset. Bytes and strings are pointers into the arena.
///
/// Views are the server's way to read requests. They are public, not package, because only then
/// does the compiler specialise code of other modules for them: a loop over a `RepeatedView` is 50
/// times faster so.
public protocol MessageView {
  associatedtype CMessage

  /// The C struct, valid as long as the view.
  var raw: UnsafePointer<CMessage> { get }

  init(raw: UnsafePointer<CMessage>)

  /// What the C code knows of the message's type.
  static var table: UnsafePointer<martlet_message> { get }
}

extension MessageView {
  /// Decodes a whole message in the arena. The bytes are not referred to afterwards. After an error
  /// the arena is usable, and holds some garbage until its next reset.
  @inlinable
  public init(decoding bytes: UnsafeRawBufferPointer, in arena: Arena) throws(DecodeError) {
    try self.init(decoding: bytes, at: arena.raw)
  }

  @inlinable
  public init(decoding bytes: UnsafeRawBufferPointer, at arena: ArenaPointer) throws(DecodeError) {
    var status = MARTLET_OK
    let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    guard let message = martlet_decode(Self.table, start, bytes.count, arena, &status) else {
      throw DecodeError(status)
    }
    self.init(raw: UnsafeRawPointer(message).assumingMemoryBound(to: CMessage.self))
  }

  /// Appends the message's encoding, unknown fields included.
  public func encode(into writer: inout ByteWriter) {
    Scratch.pack(UnsafeRawPointer(raw), into: &writer)
  }

  /// What is known of the message's type at run time.
  package static var descriptor: MessageDescriptor { MessageDescriptor(table) }
}

/// Decoding and encoding of values, by way of C structs in an arena of the thread's own.
enum Scratch {
  /// An arena for one decoding is bounded by `Arena.defaultBytesMax` plus this multiple of the
  /// input, so that large answers decode and small ones cannot expand without bound.
  static let decodingGrowthMax = 4

  static func decode<Value: WireMessage>(
    _ bytes: UnsafeRawBufferPointer
  ) throws(DecodeError) -> Value {
    let arena = take(bytesMax: Arena.defaultBytesMax + bytes.count * decodingGrowthMax)
    defer { martlet_arena_reset(arena) }
    return Value(try Value.View(decoding: bytes, at: arena))
  }

  static func encode(_ value: some WireMessage, into writer: inout ByteWriter) {
    let arena = take(bytesMax: .max)
    defer { martlet_arena_reset(arena) }
    pack(UnsafeRawPointer(value.build(in: arena)), into: &writer)
  }

  static func encodedSize(of value: some WireMessage) -> Int {
    let arena = take(bytesMax: .max)
    defer { martlet_arena_reset(arena) }
    let message = UnsafeRawPointer(value.build(in: arena))
    return protobuf_c_message_get_packed_size(
      message.assumingMemoryBound(to: ProtobufCMessage.self)
    )
  }

  static func pack(_ message: UnsafeRawPointer, into writer: inout ByteWriter) {
    let message = message.assumingMemoryBound(to: ProtobufCMessage.self)
    let count = protobuf_c_message_get_packed_size(message)
    let target = writer.reserve(count).assumingMemoryBound(to: UInt8.self)
    let packed = protobuf_c_message_pack(message, target)
    precondition(packed == count, "packed \(packed) bytes of \(count)")
    writer.advance(by: count)
  }

  /// The thread's arena, empty. Nothing below calls out, so no one else takes it meanwhile.
  private static func take(bytesMax: Int) -> ArenaPointer {
    guard let arena = martlet_scratch_arena() else { preconditionFailure("no scratch arena") }
    martlet_arena_reset(arena)
    arena.pointee.bytes_max = bytesMax
    return arena
  }
}

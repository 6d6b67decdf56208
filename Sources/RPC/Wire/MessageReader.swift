import Base

/// Cuts the data of one stream into messages: a flag byte, four bytes of length, the message.
///
/// A message that lies in one piece of data is handed out where it lies; only one that is spread
/// over several is gathered in a buffer.
package struct MessageReader: ~Copyable {
  /// How many bytes stand before each message.
  package static let prefixBytes = 5
  /// A gathering buffer larger than this is given back when its message is done.
  static let keptBytesMax = 64 << 10

  package enum Step {
    /// A whole message. The bytes are valid until the next call to this reader.
    case message(UnsafeRawBufferPointer, isCompressed: Bool)
    /// All data is taken in and no message is complete.
    case needsMore
    /// The peer breaks the framing or the limit; the stream cannot go on.
    case failure(RPCStatus)
  }

  private var partial = ByteWriter(capacity: 16)
  private var isDelivered = false

  package init() {}

  /// How many bytes of an unfinished message are held.
  package var heldBytes: Int { isDelivered ? 0 : partial.count }

  /// Forgets what was gathered, for the next stream.
  package mutating func reset() {
    isDelivered = false
    guard partial.count > 0 else { return }
    if partial.count > Self.keptBytesMax {
      partial = ByteWriter(capacity: 16)
    } else {
      partial.removeAll()
    }
  }

  /// Takes the next message off the front of `data`; call again until it answers `.needsMore`.
  package mutating func next(
    from data: inout UnsafeRawBufferPointer,
    messageBytesMax: Int
  ) -> Step {
    if isDelivered { reset() }
    guard partial.count == 0 else { return nextGathered(&data, messageBytesMax) }
    guard data.count >= Self.prefixBytes else {
      if data.count > 0 { take(data.count, from: &data) }
      return .needsMore
    }
    let length = Int(
      UInt32(bigEndian: data.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
    )
    let flag = data[0]
    if let refusal = Self.refusal(flag, length, messageBytesMax) { return .failure(refusal) }
    let end = Self.prefixBytes + length
    guard data.count >= end else {
      take(data.count, from: &data)
      return .needsMore
    }
    let message = UnsafeRawBufferPointer(rebasing: data[Self.prefixBytes..<end])
    data = UnsafeRawBufferPointer(rebasing: data[end...])
    return .message(message, isCompressed: flag == 1)
  }

  private mutating func nextGathered(
    _ data: inout UnsafeRawBufferPointer,
    _ messageBytesMax: Int
  ) -> Step {
    if partial.count < Self.prefixBytes {
      take(min(Self.prefixBytes - partial.count, data.count), from: &data)
      guard partial.count == Self.prefixBytes else { return .needsMore }
    }
    let flag = partial.bytes[0]
    let length = Int(
      UInt32(bigEndian: partial.bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
    )
    if let refusal = Self.refusal(flag, length, messageBytesMax) { return .failure(refusal) }
    let end = Self.prefixBytes + length
    take(min(end - partial.count, data.count), from: &data)
    guard partial.count == end else { return .needsMore }
    isDelivered = true
    let message = UnsafeRawBufferPointer(rebasing: partial.bytes[Self.prefixBytes...])
    return .message(message, isCompressed: flag == 1)
  }

  private mutating func take(_ count: Int, from data: inout UnsafeRawBufferPointer) {
    partial.append(UnsafeRawBufferPointer(rebasing: data[..<count]))
    data = UnsafeRawBufferPointer(rebasing: data[count...])
  }

  private static func refusal(_ flag: UInt8, _ length: Int, _ messageBytesMax: Int) -> RPCStatus? {
    if flag > 1 { return .internal("grpc: received unexpected payload format \(flag)") }
    return length > messageBytesMax ? .messageTooLarge(length, max: messageBytesMax) : nil
  }
}

package import Base

/// Answers for the calls of one event loop, gathered until they are handed over in one piece.
///
/// The block is a run of frames: the call's number (64 bits), the outcome (8 bits: 0, or a
/// `RequestError`), the length of the message (32 bits), all little endian, and the message.
package final class ReplyQueue {
  static let frameHeaderBytes = 13
  static let outcomeOffset = 8
  static let lengthOffset = 9
  static let initialCapacity = 4096
  static let capacityMax = 1 << 20

  private var writer = ByteWriter(capacity: ReplyQueue.initialCapacity)

  package init() {}

  package var isEmpty: Bool { writer.count == 0 }

  /// Adds the answer to one call: what `encode` writes, or the error it throws, in which case
  /// nothing of what it wrote stays. Returns whether it was a message.
  @discardableResult
  func reply(
    to call: UInt64,
    _ encode: (inout ByteWriter) throws(RequestError) -> Void
  ) -> Bool {
    let start = writer.count
    writer.append(integer: call.littleEndian)
    writer.append(byte: 0)
    writer.append(integer: UInt32(0))
    var isMessage = true
    do throws(RequestError) {
      try encode(&writer)
    } catch {
      isMessage = false
      writer.truncate(to: start + Self.frameHeaderBytes)
      writer.overwrite(integer: error.rawValue, at: start + Self.outcomeOffset)
    }
    let length = writer.count - start - Self.frameHeaderBytes
    writer.overwrite(integer: UInt32(length).littleEndian, at: start + Self.lengthOffset)
    return isMessage
  }

  /// Runs `encode` for its effects and keeps nothing. Returns whether it did not throw.
  @discardableResult
  func discard(_ encode: (inout ByteWriter) throws(RequestError) -> Void) -> Bool {
    let start = writer.count
    defer { writer.truncate(to: start) }
    do throws(RequestError) {
      try encode(&writer)
      return true
    } catch {
      // The requester is not here to hear of the error either.
      return false
    }
  }

  /// Hands over what was gathered.
  package func take() -> ByteBlock {
    // The next block is likely to be about as large.
    let next = min(max(writer.count + writer.count / 4, Self.initialCapacity), Self.capacityMax)
    return writer.takeBlock(nextCapacity: next)
  }

  /// One answer, valid while its block lives.
  package enum Answer {
    case message(UnsafeRawBufferPointer)
    case failure(RequestError)
  }

  /// Calls `body` for each answer of a block that `take()` made.
  @inlinable
  package static func forEachAnswer(
    in block: ByteBlock,
    _ body: (_ call: UInt64, _ answer: Answer) -> Void
  ) {
    let bytes = block.bytes
    var offset = 0
    while offset < bytes.count {
      let call = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      let outcome = bytes[offset + 8]
      let length = Int(
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 9, as: UInt32.self))
      )
      offset += 13
      if let error = RequestError(rawValue: outcome) {
        body(call, .failure(error))
      } else {
        body(call, .message(UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length])))
      }
      offset += length
    }
  }
}

package import Base

/// The events of a run of revisions, each encoded once for everybody who watches.
///
/// The bytes are a run of frames, one an event, in the order of the revisions:
///
///     0   main revision                     8 bytes
///     8   sub-revision                      4
///     12  1 for a delete, else 0            4
///     16  length of the field that follows  4
///     20  length of the event in it         4
///     24  where in the field the key is     4
///     28  length of the key                 4
///     32  the event as field 11 of a WatchResponse, without prev_kv
package struct EventBlock: Sendable {
  package let block: ByteBlock
  /// How many events there are.
  package let count: Int
  /// The block has every event of the revisions after `after` up to `through`, and no other.
  package let after: Revision
  package let through: Revision

  static let frameBytes = 32

  package init(block: ByteBlock, count: Int, after: Revision, through: Revision) {
    self.block = block
    self.count = count
    self.after = after
    self.through = through
  }
}

/// One event of a block. Valid while the block's bytes are.
package struct EventFrame {
  @usableFromInline let base: UnsafeRawPointer

  @inline(__always)
  package init(base: UnsafeRawPointer) {
    self.base = base
  }

  @inline(__always)
  package var main: Int64 { base.loadUnaligned(as: Int64.self) }
  @inline(__always)
  package var sub: UInt32 { number(8) }
  @inline(__always)
  package var isDelete: Bool { number(12) != 0 }
  @inline(__always)
  private var fieldLength: Int { Int(number(16)) }
  @inline(__always)
  private var eventLength: Int { Int(number(20)) }

  @inline(__always)
  package var key: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: field + Int(number(24)), count: Int(number(28)))
  }

  /// The event with the tag and length of the response's field.
  @inline(__always)
  package var fieldBytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: field, count: fieldLength)
  }

  /// The encoded `mvccpb.Event`.
  @inline(__always)
  package var eventBytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: field + fieldLength - eventLength, count: eventLength)
  }

  /// The frame after this one, if there is one.
  @inline(__always)
  package var next: EventFrame { EventFrame(base: field + fieldLength) }

  @inline(__always)
  private var field: UnsafeRawPointer { base + EventBlock.frameBytes }

  @inline(__always)
  private func number(_ offset: Int) -> UInt32 {
    base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }
}

/// Gathers events for a block.
struct EventWriter: ~Copyable {
  private var writer: ByteWriter
  private(set) var count = 0

  static let capacityInitial = 4096
  static let capacityMax = 256 << 10

  init() {
    writer = ByteWriter(capacity: Self.capacityInitial)
  }

  var byteCount: Int { writer.count }

  /// Adds the event of a stored change. What is not an encoded pair is left out.
  mutating func append(
    _ revision: ChangeRevision,
    isTombstone: Bool,
    encoded: UnsafeRawBufferPointer
  ) {
    guard let key = KeyValueBytes.key(of: encoded) else { return }
    let main = UInt64(bitPattern: revision.main)
    let pairLength = encoded.count + (isTombstone ? 1 + ByteWriter.varintLength(main) : 0)
    let pairHead = 1 + ByteWriter.varintLength(UInt64(pairLength))
    let typeLength = isTombstone ? 2 : 0
    let eventLength = typeLength + pairHead + pairLength
    let eventHead = 1 + ByteWriter.varintLength(UInt64(eventLength))
    let keyOffset =
      eventHead + typeLength + pairHead + 1 + ByteWriter.varintLength(UInt64(key.count))
    _ = writer.reserve(EventBlock.frameBytes + eventHead + eventLength)
    writer.append(integer: revision.main)
    writer.append(integer: UInt32(truncatingIfNeeded: revision.sub))
    writer.append(integer: UInt32(isTombstone ? 1 : 0))
    writer.append(integer: UInt32(eventHead + eventLength))
    writer.append(integer: UInt32(eventLength))
    writer.append(integer: UInt32(keyOffset))
    writer.append(integer: UInt32(key.count))
    writer.append(field: 11, lengthOfContent: eventLength)
    if isTombstone { writer.append(field: 1, varint: UInt64(1)) }
    writer.append(field: 2, lengthOfContent: pairLength)
    writer.append(encoded)
    if isTombstone { writer.append(field: 3, varint: main) }
    count += 1
  }

  mutating func removeAll() {
    writer.removeAll()
    count = 0
  }

  /// Hands over what was gathered and starts anew.
  mutating func take(after: Int64, through: Int64) -> EventBlock {
    let next = min(max(writer.count, Self.capacityInitial), Self.capacityMax)
    let block = EventBlock(
      block: writer.takeBlock(nextCapacity: next),
      count: count,
      after: Revision(after),
      through: Revision(through)
    )
    count = 0
    return block
  }
}

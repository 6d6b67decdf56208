#if canImport(Glibc)
import Glibc
#endif

/// A buffer that grows as bytes are appended: what every encoder of the project writes to.
///
/// One owner, no copy: the memory is freed with the writer or handed on by `takeBlock()`.
public struct ByteWriter: ~Copyable {
  @usableFromInline var base: UnsafeMutableRawPointer
  @usableFromInline var capacity: Int
  @usableFromInline var written: Int

  /// How many bytes have been written.
  @inlinable
  public var count: Int { written }

  /// A writer with room for `capacity` bytes before it first grows.
  public init(capacity: Int = 256) {
    self.capacity = max(capacity, 16)
    base = Self.allocate(self.capacity)
    written = 0
  }

  deinit {
    free(base)
  }

  private static func allocate(_ capacity: Int) -> UnsafeMutableRawPointer {
    guard let memory = malloc(capacity) else { preconditionFailure("out of memory") }
    return memory
  }

  /// What has been written so far; valid until the next append.
  @inlinable
  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: count)
  }

  /// Forgets the content and keeps the memory.
  @inlinable
  public mutating func removeAll() {
    written = 0
  }

  /// Forgets everything after the first `count` bytes.
  @inlinable
  public mutating func truncate(to count: Int) {
    precondition(count <= self.count)
    written = count
  }

  /// Makes room for `more` bytes and returns where they go. They count as written only after
  /// `advance(by:)`.
  @inlinable
  public mutating func reserve(_ more: Int) -> UnsafeMutableRawPointer {
    if capacity - count < more { grow(more) }
    return base + count
  }

  /// Counts `length` bytes, put where `reserve` said, as content.
  @inlinable
  public mutating func advance(by length: Int) {
    precondition(count + length <= capacity)
    written += length
  }

  @usableFromInline
  @inline(never)
  mutating func grow(_ more: Int) {
    let wanted = max(capacity * 2, count + more)
    // The kernel moves the pages of a large buffer: growing one copies nothing and needs no room
    // for both.
    guard let bigger = realloc(base, wanted) else { preconditionFailure("out of memory") }
    base = bigger
    capacity = wanted
  }

  @inlinable
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    reserve(bytes.count).copyMemory(from: start, byteCount: bytes.count)
    written += bytes.count
  }

  @inlinable
  public mutating func append(byte: UInt8) {
    reserve(1).storeBytes(of: byte, as: UInt8.self)
    written += 1
  }

  /// Appends the integer's bytes as they lie in memory: pass `.littleEndian` or `.bigEndian`.
  @inlinable
  public mutating func append<Value: FixedWidthInteger>(integer value: Value) {
    reserve(MemoryLayout<Value>.size).storeBytes(of: value, as: Value.self)
    written += MemoryLayout<Value>.size
  }

  /// Writes the integer's bytes over bytes already written, at `offset`.
  @inlinable
  public mutating func overwrite<Value: FixedWidthInteger>(integer value: Value, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
    (base + offset).storeBytes(of: value, as: Value.self)
  }

  /// Moves the bytes from `offset` on by `gap` towards the end; the gap's content is undefined
  /// until overwritten.
  public mutating func openGap(_ gap: Int, at offset: Int) {
    precondition(offset >= 0 && offset <= count && gap >= 0)
    _ = reserve(gap)
    memmove(base + offset + gap, base + offset, count - offset)
    written += gap
  }

  /// Hands the content on as an immutable block and starts anew with an empty buffer.
  public mutating func takeBlock(nextCapacity: Int = 256, owner: AnyObject? = nil) -> ByteBlock {
    let block = ByteBlock(adopting: base, count: count, owner: owner)
    capacity = max(nextCapacity, 16)
    base = Self.allocate(capacity)
    written = 0
    return block
  }
}

// Protobuf wire format (https://protobuf.dev/programming-guides/encoding/), for the places where a
// message is spliced from bytes that are encoded already and no message object exists.
extension ByteWriter {
  /// Appends a base-128 varint.
  @inlinable
  public mutating func append(varint value: UInt64) {
    var rest = value
    let target = reserve(10)
    var length = 0
    while rest >= 0x80 {
      target.storeBytes(
        of: UInt8(truncatingIfNeeded: rest) | 0x80,
        toByteOffset: length,
        as: UInt8.self
      )
      rest >>= 7
      length += 1
    }
    target.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: length, as: UInt8.self)
    written += length + 1
  }

  /// How many bytes `append(varint:)` writes.
  @inlinable
  public static func varintLength(_ value: UInt64) -> Int {
    (70 - (value | 1).leadingZeroBitCount) / 7
  }

  /// Appends a varint field unless it has proto3's default, 0.
  @inlinable
  public mutating func append(field: Int, varint value: UInt64) {
    guard value != 0 else { return }
    append(varint: UInt64(field << 3))
    append(varint: value)
  }

  @inlinable
  public mutating func append(field: Int, varint value: Int64) {
    append(field: field, varint: UInt64(bitPattern: value))
  }

  /// Appends the tag and length of a length-delimited field whose `length` bytes follow.
  @inlinable
  public mutating func append(field: Int, lengthOfContent length: Int) {
    append(varint: UInt64(field << 3 | 2))
    append(varint: UInt64(length))
  }

  /// Appends a bytes, string or message field, also when it is empty.
  @inlinable
  public mutating func append(field: Int, content: UnsafeRawBufferPointer) {
    append(field: field, lengthOfContent: content.count)
    append(content)
  }

  /// Puts a tag and length before everything written since `start`, making it one
  /// length-delimited field.
  public mutating func closeField(_ field: Int, since start: Int) {
    let length = count - start
    let gap = Self.varintLength(UInt64(field << 3 | 2)) + Self.varintLength(UInt64(length))
    openGap(gap, at: start)
    let end = count
    written = start
    append(field: field, lengthOfContent: length)
    written = end
  }
}

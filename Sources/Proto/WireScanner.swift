/// Steps through the top-level fields of an encoded message without decoding it; for code that
/// splices bytes. Holds a pointer to the bytes: they must outlive it.
///
///     var scanner = WireScanner(bytes)
///     while let field = try scanner.next() { ... }
package struct WireScanner {
  /// What follows a field's tag.
  package enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    /// Bytes, a string, a message or packed numbers; valid as long as the scanned bytes.
    case content(UnsafeRawBufferPointer)
  }

  package struct Field {
    package let number: Int
    package let value: Value
    /// Where the field lies in the scanned bytes, tag included.
    package let range: Range<Int>

    @inlinable
    init(number: Int, value: Value, range: Range<Int>) {
      self.number = number
      self.value = value
      self.range = range
    }
  }

  @usableFromInline let bytes: UnsafeRawBufferPointer
  @usableFromInline var offset = 0

  @inlinable
  package init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
  }

  /// The next field, nil at the end. Throws `malformed` when the bytes are not the wire format; the
  /// content of fields is not looked at.
  @inlinable
  package mutating func next() throws(DecodeError) -> Field? {
    if offset == bytes.count { return nil }
    let start = offset
    let tag = try varint32()
    guard tag >= 8 else { throw .malformed }
    let value: Value
    switch tag & 7 {
    case 0: value = .varint(try varint())
    case 1: value = .fixed64(try fixed(UInt64.self))
    case 2:
      let count = try varint32()
      guard count <= bytes.count - offset else { throw .malformed }
      let end = offset + count
      value = .content(UnsafeRawBufferPointer(rebasing: bytes[offset..<end]))
      offset = end
    case 5: value = .fixed32(try fixed(UInt32.self))
    default: throw .malformed
    }
    return Field(number: tag >> 3, value: value, range: start..<offset)
  }

  /// A tag or a length: at most 5 bytes and 32 bits.
  @inlinable
  mutating func varint32() throws(DecodeError) -> Int {
    let start = offset
    let value = try varint()
    guard offset - start <= 5, value <= UInt64(UInt32.max) else { throw .malformed }
    return Int(value)
  }

  @inlinable
  mutating func varint() throws(DecodeError) -> UInt64 {
    var result: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.count {
      let byte = UInt64(bytes[offset])
      offset += 1
      if shift == 63 && byte > 1 { throw .malformed }
      result |= (byte & 0x7F) << shift
      if byte < 0x80 { return result }
      shift += 7
    }
    throw .malformed
  }

  @inlinable
  mutating func fixed<Number: FixedWidthInteger & BitwiseCopyable>(
    _: Number.Type
  ) throws(DecodeError) -> Number {
    let size = MemoryLayout<Number>.size
    guard bytes.count - offset >= size else { throw .malformed }
    defer { offset += size }
    return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
  }
}

import Base

#if canImport(Glibc)
import Glibc
#endif

/// The parts of an encoded `mvccpb.KeyValue`, for writing one.
///
/// The encoding is canonical: fields in order of their numbers, zeros and empty ones left out. Two
/// members that apply the same entry therefore store the same bytes.
struct KeyValueParts {
  var key: UnsafeRawBufferPointer
  var createRevision: Int64
  var modRevision: Int64
  var version: Int64
  var value: UnsafeRawBufferPointer
  var lease: Int64

  /// A deleted key: nothing but the key.
  static func tombstone(_ key: UnsafeRawBufferPointer) -> KeyValueParts {
    KeyValueParts(
      key: key,
      createRevision: 0,
      modRevision: 0,
      version: 0,
      value: UnsafeRawBufferPointer(start: nil, count: 0),
      lease: 0
    )
  }

  var encodedSize: Int {
    Self.size(key) + Self.size(createRevision) + Self.size(modRevision) + Self.size(version)
      + Self.size(value) + Self.size(lease)
  }

  @inline(__always)
  private static func size(_ bytes: UnsafeRawBufferPointer) -> Int {
    bytes.isEmpty ? 0 : 1 + ByteWriter.varintLength(UInt64(bytes.count)) + bytes.count
  }

  @inline(__always)
  private static func size(_ number: Int64) -> Int {
    number == 0 ? 0 : 1 + ByteWriter.varintLength(UInt64(bitPattern: number))
  }

  /// Writes `encodedSize` bytes.
  func encode(to target: UnsafeMutableRawPointer) {
    var cursor = target
    Self.put(0x0a, key, &cursor)
    Self.put(0x10, createRevision, &cursor)
    Self.put(0x18, modRevision, &cursor)
    Self.put(0x20, version, &cursor)
    Self.put(0x2a, value, &cursor)
    Self.put(0x30, lease, &cursor)
  }

  @inline(__always)
  private static func put(
    _ tag: UInt8,
    _ bytes: UnsafeRawBufferPointer,
    _ cursor: inout UnsafeMutableRawPointer
  ) {
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
    cursor.storeBytes(of: tag, as: UInt8.self)
    cursor += 1
    putVarint(UInt64(bytes.count), &cursor)
    cursor.copyMemory(from: start, byteCount: bytes.count)
    cursor += bytes.count
  }

  @inline(__always)
  private static func put(
    _ tag: UInt8,
    _ number: Int64,
    _ cursor: inout UnsafeMutableRawPointer
  ) {
    guard number != 0 else { return }
    cursor.storeBytes(of: tag, as: UInt8.self)
    cursor += 1
    putVarint(UInt64(bitPattern: number), &cursor)
  }

  @inline(__always)
  private static func putVarint(_ value: UInt64, _ cursor: inout UnsafeMutableRawPointer) {
    var rest = value
    while rest >= 0x80 {
      cursor.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
      cursor += 1
      rest >>= 7
    }
    cursor.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
    cursor += 1
  }
}

/// An encoded `mvccpb.KeyValue` read back: numbers, and slices of the encoded bytes.
struct KeyValueBytes {
  let encoded: UnsafeRawBufferPointer
  private(set) var key = UnsafeRawBufferPointer(start: nil, count: 0)
  private(set) var createRevision: Int64 = 0
  private(set) var modRevision: Int64 = 0
  private(set) var version: Int64 = 0
  private(set) var value = UnsafeRawBufferPointer(start: nil, count: 0)
  private(set) var lease: Int64 = 0
  /// Where the value's field begins and ends; empty when there is none.
  private(set) var valueField = 0..<0

  /// Returns nil when the bytes are not an encoding that `KeyValueParts` writes.
  init?(_ encoded: UnsafeRawBufferPointer) {
    self.encoded = encoded
    var offset = 0
    while offset < encoded.count {
      let start = offset
      let tag = encoded[offset]
      offset += 1
      guard let number = Self.varint(encoded, &offset) else { return nil }
      switch tag {
      case 0x10: createRevision = Int64(bitPattern: number)
      case 0x18: modRevision = Int64(bitPattern: number)
      case 0x20: version = Int64(bitPattern: number)
      case 0x30: lease = Int64(bitPattern: number)
      case 0x0a, 0x2a:
        guard number <= UInt64(encoded.count - offset) else { return nil }
        let end = offset + Int(number)
        let slice = UnsafeRawBufferPointer(rebasing: encoded[offset..<end])
        offset = end
        if tag == 0x0a {
          key = slice
        } else {
          value = slice
          valueField = start..<end
        }
      default: return nil
      }
    }
    guard !key.isEmpty else { return nil }
  }

  /// The key of an encoded pair, without reading the rest.
  @inline(__always)
  static func key(of encoded: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard encoded.count > 2, encoded[0] == 0x0a else { return nil }
    var offset = 1
    guard let length = varint(encoded, &offset), length > 0,
      length <= UInt64(encoded.count - offset)
    else { return nil }
    return UnsafeRawBufferPointer(rebasing: encoded[offset..<offset + Int(length)])
  }

  /// Appends the pair without its value as field `field`.
  func appendWithoutValue(field: Int, into reply: inout ByteWriter) {
    reply.append(field: field, lengthOfContent: encoded.count - valueField.count)
    if valueField.isEmpty {
      reply.append(encoded)
    } else {
      reply.append(UnsafeRawBufferPointer(rebasing: encoded[..<valueField.lowerBound]))
      reply.append(UnsafeRawBufferPointer(rebasing: encoded[valueField.upperBound...]))
    }
  }

  @inline(__always)
  private static func varint(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.count && shift < 64 {
      let byte = bytes[offset]
      offset += 1
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }
}

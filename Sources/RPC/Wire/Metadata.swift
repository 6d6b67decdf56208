import Base

/// The metadata of a call, packed into one buffer that the next call uses again.
package struct Metadata: ~Copyable {
  /// The most bytes of names and values that one call may bring.
  package static let bytesMax = 16 << 10

  // Each entry: name length (2 bytes), value length (4 bytes), name, value.
  private var buffer = ByteWriter(capacity: 16)
  /// How many entries there are.
  package private(set) var count = 0
  /// Whether an entry was left out because the limit was reached.
  package private(set) var isOverflown = false

  private static let entryHeaderBytes = 6

  package init() {}

  package mutating func removeAll() {
    guard count > 0 || isOverflown else { return }
    buffer.removeAll()
    count = 0
    isOverflown = false
  }

  /// Adds an entry, or sets `isOverflown` when it does not fit.
  package mutating func append(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    let length = Self.entryHeaderBytes + name.count + value.count
    guard name.count <= Int(UInt16.max), buffer.count + length <= Self.bytesMax else {
      isOverflown = true
      return
    }
    buffer.append(integer: UInt16(name.count))
    buffer.append(integer: UInt32(value.count))
    buffer.append(name)
    buffer.append(value)
    count += 1
  }

  /// The value of the first entry with this name (lower case), valid until the next change.
  package func value(named name: StaticString) -> UnsafeRawBufferPointer? {
    value(named: UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
  }

  /// The value of the first entry with this name (lower case), valid until the next change.
  package func value(named name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var result: UnsafeRawBufferPointer?
    visit { entryName, value in
      guard entryName.isEqual(to: name) else { return true }
      result = value
      return false
    }
    return result
  }

  /// All entries, as strings; values of `-bin` entries stay base64.
  package var entries: [(name: String, value: String)] {
    var all: [(name: String, value: String)] = []
    visit { name, value in
      all.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
      return true
    }
    return all
  }

  /// Calls `body` with each entry, in the order of arrival, until it returns false.
  package func visit(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool) {
    guard count > 0 else { return }
    let bytes = buffer.bytes
    var offset = 0
    while offset < bytes.count {
      let nameEnd =
        offset + Self.entryHeaderBytes
        + Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      let valueEnd =
        nameEnd + Int(bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt32.self))
      let name = UnsafeRawBufferPointer(rebasing: bytes[offset + Self.entryHeaderBytes..<nameEnd])
      let value = UnsafeRawBufferPointer(rebasing: bytes[nameEnd..<valueEnd])
      guard body(name, value) else { return }
      offset = valueEnd
    }
  }
}

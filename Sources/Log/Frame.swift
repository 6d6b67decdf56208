import Base
import CSupport

/// The header of a frame: see FORMAT.md.
struct FrameHeader: Equatable {
  static let byteCount = 32
  static let magic: UInt32 = 0x5246_4c4d
  static let alignment = 8

  /// Without the header and the padding.
  var payloadBytes: UInt32
  /// See FORMAT.md: an offset of this segment, or of the one before in a segment's first frame.
  var durableOffset: UInt32
  /// The checksum of the frame before.
  var previous: UInt32
  var payloadChecksum: UInt32
  var recordCount: UInt32
  /// Of the header itself; filled in by `encode`.
  var checksum: UInt32 = 0

  /// Where the frame after this one starts if this one starts at `offset`.
  func end(at offset: Int) -> Int {
    Self.aligned(offset + Self.byteCount + Int(payloadBytes))
  }

  static func aligned(_ offset: Int) -> Int {
    (offset + alignment - 1) & ~(alignment - 1)
  }

  /// Writes the header over the 32 bytes at `target` and returns its checksum.
  func encode(into target: UnsafeMutableRawPointer, salt: UInt64, offset: Int) -> UInt32 {
    func put(_ word: UInt32, _ position: Int) {
      target.storeBytes(of: word.littleEndian, toByteOffset: position * 4, as: UInt32.self)
    }
    put(Self.magic, 0)
    put(payloadBytes, 1)
    put(durableOffset, 2)
    put(previous, 3)
    put(payloadChecksum, 4)
    put(recordCount, 5)
    put(0, 6)
    let checksum = martlet_crc32c(Self.seed(salt: salt, offset: offset), target, 28)
    put(checksum, 7)
    return checksum
  }

  /// The header at the start of `bytes`, or nil if none was ever written at this place of this
  /// life of the segment.
  init?(decoding bytes: UnsafeRawBufferPointer, salt: UInt64, offset: Int) {
    guard bytes.count >= Self.byteCount, let base = bytes.baseAddress else { return nil }
    func word(_ position: Int) -> UInt32 {
      UInt32(littleEndian: base.loadUnaligned(fromByteOffset: position * 4, as: UInt32.self))
    }
    guard word(0) == Self.magic else { return nil }
    guard martlet_crc32c(Self.seed(salt: salt, offset: offset), base, 28) == word(7) else {
      return nil
    }
    payloadBytes = word(1)
    durableOffset = word(2)
    previous = word(3)
    payloadChecksum = word(4)
    recordCount = word(5)
    checksum = word(7)
  }

  init(
    payloadBytes: UInt32,
    durableOffset: UInt32,
    previous: UInt32,
    payloadChecksum: UInt32,
    recordCount: UInt32
  ) {
    self.payloadBytes = payloadBytes
    self.durableOffset = durableOffset
    self.previous = previous
    self.payloadChecksum = payloadChecksum
    self.recordCount = recordCount
  }

  private static func seed(salt: UInt64, offset: Int) -> UInt32 {
    let words = (salt.littleEndian, UInt64(offset).littleEndian)
    return withUnsafeBytes(of: words) { martlet_crc32c(0, $0.baseAddress, $0.count) }
  }
}

/// The header of a segment: see FORMAT.md.
struct SegmentHeader: Equatable {
  /// Where the frames start.
  static let byteCount = 4096
  static let magic: UInt64 = 0x3147_4f4c_5452_414d
  static let formatVersion: UInt32 = 1
  private static let usedBytes = 36

  var sequence: UInt64
  var salt: UInt64
  /// The file's size when it was prepared. It may be larger, never smaller.
  var fileBytes: UInt32

  func encode(into writer: inout ByteWriter) {
    let start = writer.count
    writer.append(integer: Self.magic.littleEndian)
    writer.append(integer: Self.formatVersion.littleEndian)
    writer.append(integer: fileBytes.littleEndian)
    writer.append(integer: sequence.littleEndian)
    writer.append(integer: salt.littleEndian)
    let written = UnsafeRawBufferPointer(rebasing: writer.bytes[start...])
    let checksum = martlet_crc32c(0, written.baseAddress, written.count)
    writer.append(integer: checksum.littleEndian)
    let rest = Self.byteCount - Self.usedBytes
    writer.reserve(rest).initializeMemory(as: UInt8.self, repeating: 0, count: rest)
    writer.advance(by: rest)
  }

  init(sequence: UInt64, salt: UInt64, fileBytes: UInt32) {
    self.sequence = sequence
    self.salt = salt
    self.fileBytes = fileBytes
  }

  /// Reads a header; throws what is wrong with it, naming `path`.
  init(decoding bytes: UnsafeRawBufferPointer, path: String) throws(LogError) {
    guard bytes.count == Self.usedBytes, let base = bytes.baseAddress else {
      throw .damaged(file: path, offset: 0, .segmentHeader)
    }
    func load<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type) -> Value {
      Value(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
    guard
      load(0, UInt64.self) == Self.magic,
      load(32, UInt32.self) == martlet_crc32c(0, base, 32)
    else { throw .damaged(file: path, offset: 0, .segmentHeader) }
    let version = load(8, UInt32.self)
    guard version == Self.formatVersion else {
      throw .formatUnknown(file: path, version: version)
    }
    fileBytes = load(12, UInt32.self)
    sequence = load(16, UInt64.self)
    salt = load(24, UInt64.self)
  }

  /// Reads the header of an open segment.
  static func read<Files: FileSystem>(
    from handle: FileHandle<Files>
  ) throws(LogError) -> SegmentHeader {
    let block = try handle.block(0..<usedBytes)
    return try SegmentHeader(decoding: block.bytes, path: handle.path)
  }
}

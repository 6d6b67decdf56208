import Base
import CSupport

/// The names of a log's files.
enum SegmentNames {
  static let lock = "LOCK"
  /// The segment being prepared.
  static let preparing = "prepare.tmp"

  static func name(_ sequence: UInt64) -> String {
    let digits = String(sequence, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits + ".log"
  }

  /// The sequence in a segment's file name; nil for names of other files.
  static func sequence(of name: String) -> UInt64? {
    guard name.utf8.count == 20, name.hasSuffix(".log") else { return nil }
    guard let sequence = UInt64(name.prefix(16), radix: 16), sequence > 0 else { return nil }
    return Self.name(sequence) == name ? sequence : nil
  }

  static func spareName(_ sequence: UInt64) -> String {
    "spare-" + name(sequence).dropLast(4) + ".tmp"
  }

  static func isSpare(_ name: String) -> Bool {
    name.hasPrefix("spare-") && name.hasSuffix(".tmp")
  }
}

/// An open segment file.
struct Segment<Files: FileSystem>: Sendable {
  let handle: FileHandle<Files>
  let sequence: UInt64
  let salt: UInt64
  /// The file's size.
  var byteCount: Int

  var path: String { handle.path }

  /// Opens the segment `sequence` and checks its header.
  init(
    opening directory: String,
    _ sequence: UInt64,
    _ files: Files,
    _ mode: FileMode
  ) throws(LogError) {
    let path = directory + "/" + SegmentNames.name(sequence)
    let handle = try FileHandle(files, path, mode)
    let header = try SegmentHeader.read(from: handle)
    guard header.sequence == sequence else {
      throw .damaged(file: path, offset: 0, .segmentHeader)
    }
    do {
      byteCount = try files.size(handle.file)
    } catch {
      throw LogError(error)
    }
    // The whole file was synced before it got its name: no crash leaves less of it.
    guard byteCount >= Int(header.fileBytes) else {
      throw .damaged(file: path, offset: byteCount, .cutShort)
    }
    // Offsets are 32 bits wide in the format; nothing beyond could have been written.
    byteCount = min(byteCount, Int(UInt32.max))
    self.handle = handle
    self.sequence = sequence
    salt = header.salt
  }

  /// The header of the frame at `offset`, if there is a valid one.
  func frameHeader(at offset: Int) throws(LogError) -> FrameHeader? {
    guard offset + FrameHeader.byteCount <= byteCount else { return nil }
    let block = try handle.block(offset..<offset + FrameHeader.byteCount)
    return FrameHeader(decoding: block.bytes, salt: salt, offset: offset)
  }
}

/// Where the valid frames of a segment end.
struct SegmentEnd {
  /// Where the next frame goes.
  var offset: Int
  /// The checksum of the last frame; 0 before the first of all.
  var checksum: UInt32
  /// Where the frames start that the last sync may not have covered.
  var groupOffset: Int
}

extension Segment {
  /// Calls `visit` with the payload of each valid frame from the segment's start on: the block it
  /// lies in, its range there, the frame's offset in the file and its header. `previous` is the
  /// checksum of the last frame of the segment before; nil if that segment is gone.
  func readFrames(
    previous: UInt32?,
    blockBytes: Int,
    _ visit: (ByteBlock, Range<Int>, Int, FrameHeader) throws(LogError) -> Void
  ) throws(LogError) -> SegmentEnd {
    let start = SegmentHeader.byteCount
    var end = SegmentEnd(offset: start, checksum: previous ?? 0, groupOffset: start)
    var expected = previous
    var limit = byteCount
    var wanted = blockBytes
    while limit - end.offset >= FrameHeader.byteCount {
      let blockStart = end.offset
      let blockEnd = min(blockStart + wanted, limit)
      let block = try handle.block(blockStart..<blockEnd)
      // A file that shrank since its size was read: what is missing counts as not there.
      if blockStart + block.count < blockEnd { limit = blockStart + block.count }
      wanted = blockBytes
      while true {
        let at = end.offset - blockStart
        guard block.count - at >= FrameHeader.byteCount else { break }
        let bytes = UnsafeRawBufferPointer(rebasing: block.bytes[at...])
        guard
          let header = FrameHeader(decoding: bytes, salt: salt, offset: end.offset),
          header.previous == expected ?? header.previous
        else { return end }
        let payload = at + FrameHeader.byteCount
        let payloadEnd = payload + Int(header.payloadBytes)
        if blockStart + payloadEnd > limit { return end }
        if payloadEnd > block.count {
          wanted = max(blockBytes, payloadEnd - at)
          break
        }
        let checksum = martlet_crc32c(
          0,
          bytes.baseAddress.map { $0 + FrameHeader.byteCount },
          Int(header.payloadBytes)
        )
        guard checksum == header.payloadChecksum else { return end }
        try visit(block, payload..<payloadEnd, end.offset, header)
        if end.offset != start { end.groupOffset = min(Int(header.durableOffset), end.offset) }
        end.offset = header.end(at: end.offset)
        end.checksum = header.checksum
        expected = header.checksum
      }
    }
    return end
  }

  /// Whether a header after `offset` shows that the bytes at `offset` were durable once.
  func provesDurable(_ offset: Int, blockBytes: Int) throws(LogError) -> Bool {
    var blockStart = FrameHeader.aligned(offset + 1)
    while byteCount - blockStart >= FrameHeader.byteCount {
      let block = try handle.block(blockStart..<min(blockStart + blockBytes, byteCount))
      var at = 0
      while block.count - at >= FrameHeader.byteCount {
        let rest = UnsafeRawBufferPointer(rebasing: block.bytes[at...])
        at += martlet_find_word(rest.baseAddress, rest.count, FrameHeader.magic.littleEndian)
        guard block.count - at >= FrameHeader.byteCount else { break }
        let bytes = UnsafeRawBufferPointer(rebasing: block.bytes[at...])
        if let header = FrameHeader(decoding: bytes, salt: salt, offset: blockStart + at),
          Int(header.durableOffset) > offset
        {
          return true
        }
        at += FrameHeader.alignment
      }
      guard block.count >= FrameHeader.byteCount else { return false }
      // The next block begins with what could not hold a whole header at this one's end.
      blockStart += (block.count - FrameHeader.byteCount) / 8 * 8 + FrameHeader.alignment
    }
    return false
  }
}

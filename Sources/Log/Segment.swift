import Base
import CSupport

/// An open segment file.
struct Segment<Files: FileSystem>: Sendable {
  let handle: FileHandle<Files>
  let sequence: UInt64
  let salt: UInt64
  /// The file's size.
  var byteCount: Int

  var path: String { handle.path }

  static func name(_ sequence: UInt64) -> String {
    let digits = String(sequence, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits + ".log"
  }

  /// The sequence in a segment's file name; nil for names of other files.
  static func sequence(of name: String) -> UInt64? {
    guard name.utf8.count == 20, name.hasSuffix(".log") else { return nil }
    guard let sequence = UInt64(name.prefix(16), radix: 16), sequence > 0 else { return nil }
    return Segment.name(sequence) == name ? sequence : nil
  }

  /// Opens the segment `sequence` and checks its header.
  init(
    opening directory: String, _ sequence: UInt64, _ files: Files, _ mode: FileMode
  ) throws(LogError) {
    let path = directory + "/" + Self.name(sequence)
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
    // Offsets are 32 bits wide in the format; nothing beyond could have been written.
    byteCount = min(byteCount, Int(UInt32.max))
    self.handle = handle
    self.sequence = sequence
    salt = header.salt
  }

  init(handle: FileHandle<Files>, header: SegmentHeader, byteCount: Int) {
    self.handle = handle
    sequence = header.sequence
    salt = header.salt
    self.byteCount = byteCount
  }

  /// Reads `range`, or what of it lies in the file, into a block of its own.
  func block(_ range: Range<Int>) throws(LogError) -> ByteBlock {
    let count = range.count
    let base = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 16)
    let target = UnsafeMutableRawBufferPointer(start: base, count: count)
    do {
      let read = try handle.files.read(handle.file, into: target, at: range.lowerBound)
      return ByteBlock(adopting: base, count: read)
    } catch {
      base.deallocate()
      throw LogError(error)
    }
  }

  /// The header of the frame at `offset`, if there is a valid one.
  func frameHeader(at offset: Int) throws(LogError) -> FrameHeader? {
    guard offset + FrameHeader.byteCount <= byteCount else { return nil }
    let block = try block(offset..<offset + FrameHeader.byteCount)
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
    previous: UInt32?, blockBytes: Int,
    _ visit: (ByteBlock, Range<Int>, Int, FrameHeader) throws(LogError) -> Void
  ) throws(LogError) -> SegmentEnd {
    let start = SegmentHeader.byteCount
    var end = SegmentEnd(offset: start, checksum: previous ?? 0, groupOffset: start)
    var expected = previous
    var wanted = blockBytes
    while byteCount - end.offset >= FrameHeader.byteCount {
      let blockStart = end.offset
      let block = try block(blockStart..<min(blockStart + wanted, byteCount))
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
        if blockStart + payloadEnd > byteCount { return end }
        if payloadEnd > block.count {
          wanted = max(blockBytes, payloadEnd - at)
          break
        }
        let checksum = martlet_crc32c(
          0, bytes.baseAddress.map { $0 + FrameHeader.byteCount }, Int(header.payloadBytes))
        guard checksum == header.payloadChecksum else { return end }
        try visit(block, payload..<payloadEnd, end.offset, header)
        if end.offset != start { end.groupOffset = Int(header.durableOffset) }
        end.offset = header.end(at: end.offset)
        end.checksum = header.checksum
        expected = header.checksum
      }
      // A file that shrank since its size was read: what is missing counts as not there.
      if block.count < FrameHeader.byteCount { return end }
      if end.offset == blockStart, wanted == blockBytes { return end }
    }
    return end
  }

  /// Whether a header after `offset` shows that the bytes at `offset` were durable once.
  func provesDurable(_ offset: Int, blockBytes: Int) throws(LogError) -> Bool {
    var blockStart = FrameHeader.aligned(offset + 1)
    while byteCount - blockStart >= FrameHeader.byteCount {
      let block = try block(blockStart..<min(blockStart + blockBytes, byteCount))
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

import Base

/// How records lie in a frame, and the little of protobuf's wire format that their bodies need.
enum RecordFormat {
  /// Kind and body length.
  static let headerBytes = 5

  /// The field that a snapshot mark has beyond raftpb.SnapshotMetadata.
  static let replacesLogField = 15

  enum Kind: UInt8 {
    case metadata = 1
    case entry = 2
    case hardState = 3
    case snapshot = 4
  }

  @inline(__always)
  static func put(varint value: UInt64, to base: UnsafeMutableRawPointer, _ end: inout Int) {
    var rest = value
    while rest >= 0x80 {
      base.storeBytes(
        of: UInt8(truncatingIfNeeded: rest) | 0x80,
        toByteOffset: end,
        as: UInt8.self
      )
      rest >>= 7
      end += 1
    }
    base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: end, as: UInt8.self)
    end += 1
  }

  @inline(__always)
  static func put(
    field: Int,
    varint value: UInt64,
    to base: UnsafeMutableRawPointer,
    _ end: inout Int
  ) {
    put(varint: UInt64(field << 3), to: base, &end)
    put(varint: value, to: base, &end)
  }

  /// Calls `visit` with each record of a frame's payload, `range` of `block`, and the record's
  /// offset in the block. Returns the offset of the first record that cannot be read, or nil.
  static func forEachRecord<Failure: Error>(
    of block: ByteBlock,
    in range: Range<Int>,
    count: UInt32,
    _ visit: (LogRecord, Int) throws(Failure) -> Void
  ) throws(Failure) -> Int? {
    var at = range.lowerBound
    var seen: UInt32 = 0
    while at < range.upperBound {
      guard range.upperBound - at >= headerBytes else { return at }
      let bodyBytes = Int(
        UInt32(littleEndian: block.bytes.loadUnaligned(fromByteOffset: at + 1, as: UInt32.self))
      )
      let body = at + headerBytes
      guard bodyBytes <= range.upperBound - body else { return at }
      guard let kind = Kind(rawValue: block.bytes[at]) else { return at }
      guard let record = decode(kind, block, body..<body + bodyBytes) else { return at }
      try visit(record, at)
      seen &+= 1
      at = body + bodyBytes
    }
    return seen == count ? nil : at
  }

  private static func decode(_ kind: Kind, _ block: ByteBlock, _ body: Range<Int>) -> LogRecord? {
    var fields = Fields()
    guard fields.read(block.bytes, body) else { return nil }
    let content = SharedBytes(block, fields.content)
    switch kind {
    case .metadata:
      let metadata = LogMetadata(
        clusterID: ClusterID(fields.first),
        memberID: MemberID(fields.second)
      )
      return .metadata(metadata, nonce: fields.fourth)
    case .entry:
      guard let type = UInt8(exactly: fields.first), fields.third > 0 else { return nil }
      return .entry(
        RecoveredEntry(
          index: LogIndex(fields.third),
          term: Term(fields.second),
          kind: type,
          data: content
        )
      )
    case .hardState:
      return .hardState(
        LogHardState(
          term: Term(fields.first),
          vote: MemberID(fields.second),
          commit: LogIndex(fields.third)
        )
      )
    case .snapshot:
      return .snapshot(
        SnapshotMark(
          index: LogIndex(fields.second),
          term: Term(fields.third),
          confState: content,
          replacesLog: fields.replacesLog != 0
        )
      )
    }
  }
}

/// The fields of a message: numbers, and one length-delimited field (1 or 4) as a range.
private struct Fields {
  var first: UInt64 = 0
  var second: UInt64 = 0
  var third: UInt64 = 0
  var fourth: UInt64 = 0
  var replacesLog: UInt64 = 0
  var content = 0..<0

  /// Reads a message; returns false if it is malformed. Unknown fields are passed over.
  mutating func read(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
    var at = range.lowerBound
    while at < range.upperBound {
      guard let tag = Self.varint(bytes, &at, range.upperBound) else { return false }
      switch tag & 7 {
      case 0:
        guard let value = Self.varint(bytes, &at, range.upperBound) else { return false }
        switch tag >> 3 {
        case 1: first = value
        case 2: second = value
        case 3: third = value
        case 4: fourth = value
        case UInt64(RecordFormat.replacesLogField): replacesLog = value
        default: break
        }
      case 2:
        guard
          let value = Self.varint(bytes, &at, range.upperBound),
          let length = Int(exactly: value), length <= range.upperBound - at
        else { return false }
        if tag >> 3 == 1 || tag >> 3 == 4 { content = at..<at + length }
        at += length
      case 1:
        guard range.upperBound - at >= 8 else { return false }
        at += 8
      case 5:
        guard range.upperBound - at >= 4 else { return false }
        at += 4
      default:
        return false
      }
    }
    return true
  }

  @inline(__always)
  static func varint(_ bytes: UnsafeRawBufferPointer, _ at: inout Int, _ end: Int) -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while at < end, shift < 64 {
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }
}

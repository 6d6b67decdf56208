import Base

/// Where a record lies.
struct RecordPlace {
  /// Which of the segments walked over.
  var segment: Int
  var frameOffset: Int
  /// Of the record in its file.
  var offset: Int
}

/// Where a walk over a log's segments ended without finding damage.
struct WalkEnd {
  /// The segment to go on writing in, as a position among those walked over.
  var segment: Int
  /// Where its frames end.
  var end: SegmentEnd
  /// Where the frames of the segment before ended; 0 if it is the first.
  var previousEnd: Int
}

/// Reads segments in order and finds the log's end. See FORMAT.md, "Torn tail or damage in the
/// middle".
enum SegmentWalk {
  static func walk<Files: FileSystem>(
    _ segments: [Segment<Files>],
    blockBytes: Int,
    _ visit: (LogRecord, RecordPlace) throws(LogError) -> Void
  ) throws(LogError) -> WalkEnd {
    var position = 0
    var previous: UInt32?
    var previousEnd = 0
    while true {
      var segment = segments[position]
      let next = position + 1 < segments.count ? segments[position + 1] : nil
      let header = try next?.frameHeader(at: SegmentHeader.byteCount)
      if let header {
        // What lies behind the end that the next segment names was given up after an error.
        segment.byteCount = min(segment.byteCount, Int(header.durableOffset))
      }
      let end = try read(
        segment,
        at: position,
        previous: previous,
        blockBytes: blockBytes,
        visit
      )
      guard let header else {
        try checkTail(segment, end.offset, blockBytes)
        try checkUnused(segments[(position + 1)...], blockBytes)
        return WalkEnd(segment: position, end: end, previousEnd: previousEnd)
      }
      guard Int(header.durableOffset) == end.offset, header.previous == end.checksum else {
        throw .damaged(file: segment.path, offset: end.offset, .frame)
      }
      previous = end.checksum
      previousEnd = end.offset
      position += 1
    }
  }

  private static func read<Files: FileSystem>(
    _ segment: Segment<Files>,
    at position: Int,
    previous: UInt32?,
    blockBytes: Int,
    _ visit: (LogRecord, RecordPlace) throws(LogError) -> Void
  ) throws(LogError) -> SegmentEnd {
    try segment.readFrames(previous: previous, blockBytes: blockBytes) {
      (block, payload, offset, header) throws(LogError) in
      let base = offset + FrameHeader.byteCount - payload.lowerBound
      let bad = try RecordFormat.forEachRecord(of: block, in: payload, count: header.recordCount) {
        (record, at) throws(LogError) in
        try visit(
          record,
          RecordPlace(segment: position, frameOffset: offset, offset: base + at)
        )
      }
      if let bad { throw .damaged(file: segment.path, offset: base + bad, .record) }
    }
  }

  private static func checkTail<Files: FileSystem>(
    _ segment: Segment<Files>,
    _ offset: Int,
    _ blockBytes: Int
  ) throws(LogError) {
    guard try !segment.provesDurable(offset, blockBytes: blockBytes) else {
      throw .damaged(file: segment.path, offset: offset, .frame)
    }
  }

  /// Segments after the end may be prepared, but no more.
  private static func checkUnused<Files: FileSystem>(
    _ segments: ArraySlice<Segment<Files>>,
    _ blockBytes: Int
  ) throws(LogError) {
    let start = SegmentHeader.byteCount
    guard let first = segments.first else { return }
    try checkTail(first, start, blockBytes)
    for later in segments.dropFirst() where try later.frameHeader(at: start) != nil {
      throw .damaged(file: first.path, offset: start, .frame)
    }
  }
}

import Base

/// One record with its place, for tools.
package struct DumpedRecord: Sendable {
  /// The path of the segment's file.
  package var file: String
  /// Where the record's batch starts in the file.
  package var frameOffset: Int
  /// Where the record starts in the file.
  package var offset: Int
  package var record: LogRecord
}

/// Reads a log without locking or changing anything, for tools.
package enum LogDump {
  /// Calls `visit` with every record from the first segment to the log's end, replaced entries
  /// included. Where the log is damaged, the records before are visited and `damaged` is thrown.
  /// A log that is being written meanwhile may look damaged.
  package static func forEachRecord<Files: FileSystem>(
    directory: String,
    files: Files,
    readBlockBytes: Int = 1 << 20,
    _ visit: (DumpedRecord) -> Void
  ) throws(LogError) {
    let names = try SegmentedLog<Files>.list(directory, files)
    let segments = try SegmentedLog<Files>.openSegments(names, directory, files, .read)
    guard !segments.isEmpty else { throw .notFound(directory: directory) }
    _ = try SegmentWalk.walk(segments, blockBytes: readBlockBytes) {
      (record, place) throws(LogError) in
      visit(
        DumpedRecord(
          file: segments[place.segment].path,
          frameOffset: place.frameOffset,
          offset: place.offset,
          record: record
        )
      )
    }
  }
}

import Base
import Synchronization

/// Makes the next segment's file ready ahead of its use, so that an append that moves on to it
/// has no file to make. Any thread may call `prepare()`, one that may block for a while.
///
/// What it prepares is written in full: an fdatasync into blocks that were written before takes
/// about two thirds of the time of one into blocks only reserved, which has metadata to change.
package final class SegmentPreparer<Files: FileSystem>: Sendable {
  private struct Slot: Sendable {
    /// The sequence that the next prepared segment gets.
    var sequence: UInt64
    var ready: Segment<Files>?
  }

  private let files: Files
  private let directory: String
  private let configuration: LogConfiguration
  // Held while a segment is being prepared, so that who needs it then waits for it.
  private let slot: Mutex<Slot>
  // Names of released files, in order of their release.
  private let spares: Mutex<[String]>

  /// How much of the file is filled between two syncs, so that they do not hold up those of
  /// the segment in use. In bytes.
  private static var fillBytes: Int { 1 << 20 }

  init(
    _ files: Files,
    _ directory: String,
    _ configuration: LogConfiguration,
    nextSequence: UInt64,
    ready: Segment<Files>?,
    spares: [String]
  ) {
    self.files = files
    self.directory = directory
    self.configuration = configuration
    slot = Mutex(Slot(sequence: nextSequence, ready: ready))
    self.spares = Mutex(spares)
  }

  /// Prepares the next segment unless one is ready. An error leaves things as they were: it may
  /// be called again, and the append that needs the segment tries once more itself.
  package func prepare() throws(LogError) {
    try prepare(bytes: configuration.segmentBytesMax)
  }

  /// The same with a size of its own: for the first segment of a new log.
  func prepare(bytes: Int) throws(LogError) {
    try slot.withLock { slot throws(LogError) in
      if slot.ready == nil { slot.ready = try make(slot.sequence, bytes) }
    }
  }

  /// Whether the next segment is ready. Does not wait for one being prepared.
  package var isReady: Bool {
    slot.withLockIfAvailable { $0.ready != nil } ?? false
  }

  /// Hands out the next segment, at least `bytes` long, and prepares it if it is not ready.
  func take(bytes: Int) throws(LogError) -> Segment<Files> {
    try slot.withLock { slot throws(LogError) in
      let usual = max(bytes, configuration.segmentBytesMax)
      var segment = if let ready = slot.ready { ready } else { try make(slot.sequence, usual) }
      slot.ready = segment
      if segment.byteCount < bytes { segment = try enlarge(segment, to: bytes) }
      slot.ready = nil
      slot.sequence += 1
      return segment
    }
  }

  /// Takes over a released file, or removes it if there are enough.
  func recycle(_ segment: UInt64, bytes: Int) throws(FileError) {
    let path = directory + "/" + SegmentNames.name(segment)
    let hasRoom = spares.withLock { $0.count < configuration.spareCountMax }
    guard hasRoom, bytes == configuration.segmentBytesMax else {
      try files.remove(path)
      return
    }
    let name = SegmentNames.spareName(segment)
    try files.rename(path, to: directory + "/" + name)
    spares.withLock { $0.append(name) }
  }

  private func make(_ sequence: UInt64, _ bytes: Int) throws(LogError) -> Segment<Files> {
    let path = directory + "/" + SegmentNames.name(sequence)
    let temporary = directory + "/" + SegmentNames.preparing
    let spare = bytes == configuration.segmentBytesMax ? takeSpare() : nil
    do throws(FileError) {
      if let spare {
        // The release must be durable before the file is written over: else a crash could bring
        // the old name back with the new content.
        try files.syncDirectory(directory)
        try files.rename(directory + "/" + spare, to: temporary)
      }
      let file = try files.open(temporary, spare == nil ? .create : .readWrite)
      defer { files.close(file) }
      if spare == nil { try fill(file, from: 0, to: bytes) }
      var writer = ByteWriter(capacity: SegmentHeader.byteCount)
      SegmentHeader(sequence: sequence, salt: files.salt(), fileBytes: UInt32(clamping: bytes))
        .encode(into: &writer)
      try files.write(file, writer.bytes, at: 0)
      try files.syncData(file)
      try files.rename(temporary, to: path)
      try files.syncDirectory(directory)
    } catch {
      throw discard(temporary, error)
    }
    return try Segment(opening: directory, sequence, files, .readWrite)
  }

  /// Removes what an attempt left, so that it takes no space, and says what went wrong.
  private func discard(_ temporary: String, _ error: FileError) -> LogError {
    // Best effort: if it stays, the next attempt or the next opening removes it.
    try? files.remove(temporary)
    return LogError(preparing: error)
  }

  private func enlarge(
    _ segment: Segment<Files>,
    to bytes: Int
  ) throws(LogError) -> Segment<Files> {
    var larger = segment
    do {
      try fill(segment.handle.file, from: segment.byteCount, to: bytes)
      larger.byteCount = try files.size(segment.handle.file)
    } catch {
      throw LogError(preparing: error)
    }
    return larger
  }

  private func fill(_ file: Files.File, from start: Int, to end: Int) throws(FileError) {
    try files.preallocate(file, bytes: end)
    let zeros = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(Self.fillBytes, end - start),
      alignment: 4096
    )
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    var at = start
    while at < end {
      let count = min(zeros.count, end - at)
      try files.write(file, UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: at)
      try files.syncData(file)
      at += count
    }
  }

  private func takeSpare() -> String? {
    spares.withLock { $0.isEmpty ? nil : $0.removeFirst() }
  }
}

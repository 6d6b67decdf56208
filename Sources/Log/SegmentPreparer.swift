import Base
import Synchronization

/// Makes the next segment's file ready ahead of its use, so that an append that moves on to it
/// has no file to make. Any thread may call `prepare()`, one that may block for a while.
///
/// What it prepares was written in full once: an fdatasync into blocks that were written before takes
/// about two thirds of the time of one into blocks only reserved, which has metadata to change.
/// Released segments are such files, so zeros are written only while the log grows.
package final class SegmentPreparer<Files: FileSystem>: Sendable {
  private struct Slot: Sendable {
    /// The sequence that the next prepared segment gets.
    var sequence: UInt64
    var ready: Segment<Files>?
  }

  /// A released file.
  struct Spare: Sendable {
    var name: String
    var byteCount: Int
  }

  private let files: Files
  private let directory: String
  private let configuration: LogConfiguration
  // Held while a segment is being prepared, so that who needs it then waits for it.
  private let slot: Mutex<Slot>
  // In order of their release.
  private let spares: Mutex<[Spare]>

  /// How much of the file is filled between two syncs, so that they do not hold up those of
  /// the segment in use. In bytes.
  private static var fillBytes: Int { 1 << 20 }

  init(
    _ files: Files,
    _ directory: String,
    _ configuration: LogConfiguration,
    nextSequence: UInt64,
    ready: Segment<Files>?,
    spares: [Spare]
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
      var segment =
        if let ready = slot.ready {
          ready
        } else {
          try make(slot.sequence, configuration.segmentBytesMax)
        }
      slot.ready = segment
      if segment.byteCount < bytes { segment = try enlarge(segment, to: bytes) }
      slot.ready = nil
      slot.sequence += 1
      return segment
    }
  }

  /// Takes over a released file, or removes it if it is small or there are enough.
  func recycle(_ segment: UInt64, bytes: Int) throws(FileError) {
    let path = directory + "/" + SegmentNames.name(segment)
    guard spares.withLock({ Self.keeps(bytes, beside: $0, configuration) }) else {
      try files.remove(path)
      return
    }
    let name = SegmentNames.spareName(segment)
    try files.rename(path, to: directory + "/" + name)
    spares.withLock { $0.append(Spare(name: name, byteCount: bytes)) }
  }

  /// Whether a released file of so many bytes is worth keeping.
  static func keeps(
    _ bytes: Int,
    beside spares: [Spare],
    _ configuration: LogConfiguration
  ) -> Bool {
    let used = spares.reduce(0) { $0 + $1.byteCount }
    return bytes >= configuration.segmentBytesMax && used + bytes <= configuration.spareBytesMax
  }

  private func make(_ sequence: UInt64, _ bytes: Int) throws(LogError) -> Segment<Files> {
    let path = directory + "/" + SegmentNames.name(sequence)
    let temporary = directory + "/" + SegmentNames.preparing
    let spare = takeSpare(bytes: bytes)
    do throws(FileError) {
      if let spare {
        // The release must be durable before the file is written over: else a crash could bring
        // the old name back with the new content.
        try files.syncDirectory(directory)
        try files.rename(directory + "/" + spare.name, to: temporary)
      }
      let file = try files.open(temporary, spare == nil ? .create : .readWrite)
      defer { files.close(file) }
      if spare == nil { try fill(file, bytes) }
      var writer = ByteWriter(capacity: SegmentHeader.byteCount)
      let fileBytes = UInt32(clamping: spare?.byteCount ?? bytes)
      SegmentHeader(sequence: sequence, salt: files.salt(), fileBytes: fileBytes)
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

  /// Makes room for a batch of its own size, which is written at once: it needs no zeros.
  private func enlarge(
    _ segment: Segment<Files>,
    to bytes: Int
  ) throws(LogError) -> Segment<Files> {
    var larger = segment
    do {
      try files.preallocate(segment.handle.file, bytes: bytes)
      larger.byteCount = try files.size(segment.handle.file)
    } catch {
      throw LogError(preparing: error)
    }
    return larger
  }

  private func fill(_ file: Files.File, _ bytes: Int) throws(FileError) {
    try files.preallocate(file, bytes: bytes)
    let zeros = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(Self.fillBytes, bytes),
      alignment: 4096
    )
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    var at = 0
    while at < bytes {
      let count = min(zeros.count, bytes - at)
      try files.write(file, UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: at)
      try files.syncData(file)
      at += count
    }
  }

  /// The oldest spare of at least `bytes`.
  private func takeSpare(bytes: Int) -> Spare? {
    spares.withLock { spares in
      spares.firstIndex { $0.byteCount >= bytes }.map { spares.remove(at: $0) }
    }
  }
}

import Base

extension SegmentedLog {
  /// Opens the log in `directory` and reads it, all entries into one array.
  ///
  /// With `metadata`, a log that is not there is made, and one that is there must be its own
  /// (else `foreign`); without, it must be there (else `notFound`). Throws `locked` if it is in use, `damaged` if bytes
  /// that were durable once read back wrong; nothing is changed on disk then.
  /// A torn end is cut off. All that is returned is durable.
  package static func open(
    directory: String,
    files: Files,
    configuration: LogConfiguration = LogConfiguration(),
    metadata: LogMetadata?
  ) throws(LogError) -> (log: SegmentedLog<Files>, recovered: RecoveredLog) {
    var collector = EntryCollector()
    var (log, recovered) = try open(
      directory: directory,
      files: files,
      configuration: configuration,
      metadata: metadata
    ) { collector.apply($0) }
    recovered.entries = collector.result()
    return (log, recovered)
  }

  /// The same with the entries streamed to `visit`, a block of them in memory at a time.
  package static func open(
    directory: String,
    files: Files,
    configuration: LogConfiguration = LogConfiguration(),
    metadata: LogMetadata?,
    visit: (RecoveryEvent) -> Void
  ) throws(LogError) -> (log: SegmentedLog<Files>, recovered: RecoveredLog) {
    if metadata != nil {
      do throws(FileError) { try files.createDirectory(directory) } catch { throw LogError(error) }
    }
    var names = try list(directory, files)
    if metadata == nil, !names.contains(where: { SegmentNames.sequence(of: $0) != nil }) {
      throw .notFound(directory: directory)
    }
    let lock = try FileHandle(locking: directory + "/" + SegmentNames.lock, files)
    do throws(FileError) { try files.syncDirectory(directory) } catch { throw LogError(error) }
    names = try list(directory, files)

    let segments = try openSegments(names, directory, files, .readWrite)
    var recovery = LogRecovery(segments, configuration)
    try recovery.read(visit)
    let isNew = recovery.fold.metadata == nil
    if let found = recovery.fold.metadata, let metadata, found != metadata {
      throw .foreign(found: found, wanted: metadata)
    }
    guard let owner = recovery.fold.metadata ?? metadata else {
      throw .notFound(directory: directory)
    }
    let spares = tidy(names, segments, configuration, directory, files)
    let end = recovery.end
    let last = end.map { $0.segment } ?? -1
    let preparer = SegmentPreparer(
      files,
      directory,
      configuration,
      nextSequence: segments.isEmpty ? 1 : segments[last].sequence + 1,
      ready: last + 1 < segments.count ? segments[last + 1] : nil,
      spares: spares
    )
    let parts = LogParts(
      files: files,
      directory: directory,
      configuration: configuration,
      lock: lock,
      metadata: owner,
      preparer: preparer,
      segment: try segments.isEmpty
        ? firstSegment(preparer, configuration) : segments[last],
      previousEnd: end?.previousEnd ?? 0,
      position: Position(
        offset: end?.end.offset ?? SegmentHeader.byteCount,
        checksum: end?.end.checksum ?? 0,
        lastIndex: recovery.fold.lastIndex,
        hardState: recovery.fold.hardState,
        snapshot: recovery.fold.snapshot
      ),
      maxIndex: recovery.maxIndexes.last ?? .zero,
      sealed: recovery.sealed
    )
    let log = SegmentedLog(parts)
    if let end { try log.settle(from: end.end.groupOffset) }
    try log.appendState()
    try log.sync()
    return (
      log,
      RecoveredLog(
        metadata: owner,
        hardState: recovery.fold.hardState,
        snapshot: recovery.fold.snapshot,
        entries: [],
        lastIndex: recovery.fold.lastIndex,
        isNew: isNew
      )
    )
  }

  static func list(_ directory: String, _ files: Files) throws(LogError) -> [String] {
    do {
      return try files.list(directory)
    } catch {
      throw LogError(error)
    }
  }

  /// Opens the segments that belong to the log: those that lead up to the last without a gap. Earlier
  /// ones were released, and a crash kept some of their names.
  static func openSegments(
    _ names: [String],
    _ directory: String,
    _ files: Files,
    _ mode: FileMode
  ) throws(LogError) -> [Segment<Files>] {
    var run: [UInt64] = []
    for sequence in names.compactMap({ SegmentNames.sequence(of: $0) }) {
      if let last = run.last, last + 1 != sequence { run.removeAll() }
      run.append(sequence)
    }
    var segments: [Segment<Files>] = []
    for sequence in run {
      segments.append(try Segment(opening: directory, sequence, files, mode))
    }
    return segments
  }

  private static func firstSegment(
    _ preparer: SegmentPreparer<Files>,
    _ configuration: LogConfiguration
  ) throws(LogError) -> Segment<Files> {
    try preparer.prepare(bytes: configuration.firstSegmentBytes)
    return try preparer.take(bytes: 0)
  }

  /// Removes files that a crash left over; returns the spare ones to keep.
  private static func tidy(
    _ names: [String],
    _ segments: [Segment<Files>],
    _ configuration: LogConfiguration,
    _ directory: String,
    _ files: Files
  ) -> [SegmentPreparer<Files>.Spare] {
    var spares: [SegmentPreparer<Files>.Spare] = []
    for name in names {
      let path = directory + "/" + name
      if SegmentNames.isSpare(name) {
        let bytes = spareBytes(path, files) ?? 0
        if SegmentPreparer<Files>.keeps(bytes, beside: spares, configuration) {
          spares.append(.init(name: name, byteCount: bytes))
          continue
        }
      } else if let sequence = SegmentNames.sequence(of: name) {
        if let first = segments.first, sequence >= first.sequence { continue }
      } else if name != SegmentNames.preparing {
        continue
      }
      // Best effort: a file that stays takes space and is tried again at the next opening.
      try? files.remove(path)
    }
    return spares
  }

  private static func spareBytes(_ path: String, _ files: Files) -> Int? {
    guard let file = try? files.open(path, .read) else { return nil }
    defer { files.close(file) }
    return try? files.size(file)
  }

  /// Makes what was read durable: it may lie in the system's cache only, and after a failed fsync
  /// even in pages that count as clean, which another fsync would pass over. So the frames that
  /// no sync is known to have covered are written again first.
  private func settle(from start: Int) throws(LogError) {
    var at = start
    while at < position.offset {
      let block = try segment.handle.block(
        at..<min(at + configuration.readBlockBytes, position.offset)
      )
      guard block.count > 0 else { break }
      do throws(FileError) {
        try files.write(segment.handle.file, block.bytes, at: at)
      } catch {
        throw LogError(error)
      }
      at += block.count
    }
    do throws(FileError) {
      try files.syncData(segment.handle.file)
    } catch {
      throw LogError(error)
    }
  }
}

/// Reads a log from its first segment to its end.
struct LogRecovery<Files: FileSystem> {
  let segments: [Segment<Files>]
  let configuration: LogConfiguration
  private(set) var fold = RecoveryFold()
  /// Nil if there are no segments.
  private(set) var end: WalkEnd?
  /// The highest index of an entry in each segment up to the end.
  private(set) var maxIndexes: [LogIndex] = []

  init(_ segments: [Segment<Files>], _ configuration: LogConfiguration) {
    self.segments = segments
    self.configuration = configuration
  }

  /// The segments before the one that is written on.
  var sealed: [SegmentedLog<Files>.Sealed] {
    zip(segments, maxIndexes).dropLast().map {
      SegmentedLog<Files>.Sealed(
        sequence: $0.sequence,
        byteCount: $0.byteCount,
        maxIndex: $1
      )
    }
  }

  mutating func read(_ visit: (RecoveryEvent) -> Void) throws(LogError) {
    guard let first = segments.first else { return }
    var fold = self.fold
    var maxIndexes = [LogIndex](repeating: .zero, count: segments.count)
    let end = try SegmentWalk.walk(segments, blockBytes: configuration.readBlockBytes) {
      (record, place) throws(LogError) in
      if case .entry(let entry) = record {
        maxIndexes[place.segment] = max(maxIndexes[place.segment], entry.index)
      }
      do throws(LogDamage) {
        try fold.apply(record, visit)
      } catch {
        throw .damaged(file: segments[place.segment].path, offset: place.offset, error)
      }
    }
    let isUnwritten = end.segment == 0 && end.end.offset == SegmentHeader.byteCount
    if isUnwritten, first.sequence != 1 {
      throw .damaged(file: first.path, offset: end.end.offset, .frame)
    }
    if !isUnwritten, fold.metadata == nil {
      throw .damaged(file: first.path, offset: SegmentHeader.byteCount, .metadata)
    }
    guard fold.isGapless else {
      throw .damaged(file: first.path, offset: SegmentHeader.byteCount, .missingEntries)
    }
    self.fold = fold
    self.end = end
    self.maxIndexes = Array(maxIndexes[...end.segment])
  }
}

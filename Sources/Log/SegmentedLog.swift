package import Base

/// The durable log of one member: its entries, hard state and snapshot marks.
///
/// FORMAT.md describes the files. A batch handed to `append` is durable when a later `sync()` has
/// returned, and not before; after a crash the log holds everything that was synced, then some
/// of the batches that followed in their order, each whole or not at all.
///
/// Thread rule: one thread at a time, the one that writes. Only `preparer` may be used from others.
///
/// Errors stick: after a failed write or sync every call throws the same error until `reopen()`
/// succeeds. Nothing since the last good `sync()` may be acknowledged then.
package final class SegmentedLog<Files: FileSystem>: @unchecked Sendable {
  /// What changes with each frame, so that it can go back to what is durable.
  struct Position {
    /// Where the next frame goes.
    var offset: Int
    /// Of the last frame.
    var checksum: UInt32
    var lastIndex: LogIndex
    var hardState: LogHardState?
    var snapshot: SnapshotMark?
  }

  /// A segment that takes no more frames.
  struct Sealed {
    var sequence: UInt64
    var byteCount: Int
    /// The highest index of an entry in it, replaced ones included.
    var maxIndex: LogIndex
  }

  let files: Files
  let directory: String
  let configuration: LogConfiguration
  let lock: FileHandle<Files>
  package let metadata: LogMetadata
  /// Prepares segments ahead. Call its `prepare()` on another thread when `needsPreparation`.
  package let preparer: SegmentPreparer<Files>

  var segment: Segment<Files>
  /// Where the frames of the segment before ended; 0 in the first segment.
  var previousEnd: Int
  var position: Position
  var durable: Position
  var maxIndex: LogIndex
  var sealed: [Sealed]
  /// How many batches the owner has appended since the last good `sync()`.
  private var unsyncedCount = 0
  /// How many of those are durable all the same: a segment is synced before the next is begun.
  private var durableCount = 0
  /// The error that every call throws, if one stuck.
  package internal(set) var failure: LogError?

  init(_ parts: consuming LogParts<Files>) {
    files = parts.files
    directory = parts.directory
    configuration = parts.configuration
    lock = parts.lock
    metadata = parts.metadata
    preparer = parts.preparer
    segment = parts.segment
    previousEnd = parts.previousEnd
    position = parts.position
    durable = parts.position
    maxIndex = parts.maxIndex
    sealed = parts.sealed
  }

  /// The index of the last entry appended, synced or not; the mark's if that is later.
  package var lastIndex: LogIndex { position.lastIndex }

  /// Whether something was appended since the last sync.
  package var isDirty: Bool { position.offset != durable.offset }

  /// How many bytes of batches the segment in use still takes. An append beyond that moves on to
  /// the next segment, which syncs and may wait for the segment to be prepared.
  package var roomBytes: Int { segment.byteCount - position.offset }

  /// Whether `preparer.prepare()` should be called soon: half of the segment in use is full and
  /// the next is not there.
  package var needsPreparation: Bool {
    position.offset > segment.byteCount / 2 && !preparer.isReady
  }

  /// How many segment files the log consists of, the one being prepared aside.
  package var segmentCount: Int { sealed.count + 1 }

  /// Writes a batch at the log's end. It is durable only after `sync()`. An empty batch changes
  /// nothing. The batch is not changed but for the room of its header, and may be used again.
  ///
  /// The first entry must follow on the last one, or replace one (which removes those after it).
  /// Throws `diskFull` if a new segment is needed and there is no room for it.
  package func append(_ batch: LogBatch) throws(LogError) {
    try appendFrame(batch)
    unsyncedCount += 1
  }

  private func appendFrame(_ batch: LogBatch) throws(LogError) {
    if let failure { throw failure }
    guard !batch.isEmpty else { return }
    let before = batch.leadingIndex == nil ? batch.snapshot?.index ?? .zero : .zero
    precondition(
      batch.entryCount == 0 || batch.firstIndex <= max(position.lastIndex, before) + 1,
      "entry \(batch.firstIndex) after \(position.lastIndex)"
    )
    if let mark = batch.snapshot, mark.replacesLog {
      precondition(mark.index > position.snapshot?.index ?? .zero, "mark \(mark.index)")
    }
    do throws(LogError) {
      if position.offset + batch.byteCount > segment.byteCount {
        try moveOn(roomFor: batch.byteCount)
      }
      try write(batch)
    } catch {
      failure = error
      throw error
    }
  }

  /// Makes everything appended durable: one fdatasync, none if nothing was appended.
  package func sync() throws(LogError) {
    try syncFrames()
    unsyncedCount = 0
    durableCount = 0
  }

  private func syncFrames() throws(LogError) {
    if let failure { throw failure }
    guard isDirty else { return }
    do throws(FileError) {
      try files.syncData(segment.handle.file)
    } catch {
      let error = LogError(error)
      failure = error
      throw error
    }
    durable = position
    durableCount = unsyncedCount
  }

  /// Appends a mark: the state through `index`, whose entry has `term`, is durable outside the log
  /// together with `confState` (an encoded raftpb.ConfState). It takes effect with the next `sync()`.
  ///
  /// With `replacesLog` (the snapshot came from a leader) entries after it are dropped, else
  /// they stay. A mark not later than the last one changes nothing, and must not replace the log.
  package func recordSnapshot(
    index: LogIndex,
    term: Term,
    confState: SharedBytes,
    replacesLog: Bool = false
  ) throws(LogError) {
    let batch = LogBatch(capacity: 512)
    batch.append(
      snapshot: SnapshotMark(
        index: index,
        term: term,
        confState: confState,
        replacesLog: replacesLog
      )
    )
    try append(batch)
  }

  /// Frees the segments whose entries are all at or before both `index` and the last durable
  /// mark: a restart needs none of them. Their files are kept for later segments, or removed.
  /// What cannot be freed now (the file system refuses) is tried again at the next call.
  /// Returns how many were freed.
  @discardableResult
  package func release(through index: LogIndex) -> Int {
    let covered = min(index, durable.snapshot?.index ?? .zero)
    // The state frame of the segment in use must be durable before that of its predecessor goes.
    let isBegun = durable.offset > SegmentHeader.byteCount
    let candidates = sealed.count - (isBegun ? 0 : 1)
    var count = 0
    while count < candidates, sealed[count].maxIndex <= covered {
      do throws(FileError) {
        try preparer.recycle(sealed[count].sequence, bytes: sealed[count].byteCount)
      } catch {
        break
      }
      count += 1
    }
    sealed.removeFirst(count)
    return count
  }

  /// Makes a log that an error stopped usable again.
  ///
  /// Returns how many of the batches appended since the last good `sync()`, marks included, are
  /// durable: the first ones, as far as the log had moved on to another segment. The others are not
  /// in the log; the owner appends them again, in their order, or gives them up. A batch that is
  /// durable must not be appended again: it would remove the entries that follow its own, and leave
  /// a hard state that names them. Throws if the disk still fails, and may be called again.
  package func reopen() throws(LogError) -> Int {
    let before = failure ?? .notFound(directory: directory)
    position = durable
    unsyncedCount = durableCount
    failure = nil
    do throws(LogError) {
      // So that a full disk is found now and not by the next batch.
      try preparer.prepare()
      try appendState()
      let count = durableCount
      try sync()
      return count
    } catch {
      failure = failure ?? before
      throw error
    }
  }

  /// Writes a state frame: it tells what follows from stale frames, and makes the frames before
  /// unnecessary for all but entries.
  func appendState() throws(LogError) {
    try appendFrame(stateBatch())
  }

  private func stateBatch() -> LogBatch {
    let batch = LogBatch(capacity: 512)
    batch.append(metadata: metadata, nonce: files.salt())
    if let hardState = position.hardState { batch.append(hardState: hardState) }
    if var snapshot = position.snapshot {
      // The log was replaced where the mark was first written.
      snapshot.replacesLog = false
      batch.append(snapshot: snapshot)
    }
    return batch
  }

  /// Seals the segment and goes on in the next, which begins with a state frame.
  private func moveOn(roomFor bytes: Int) throws(LogError) {
    // The next segment's first header says that this one is durable to its end.
    try syncFrames()
    let state = stateBatch()
    let start = SegmentHeader.byteCount
    let wanted = start + FrameHeader.aligned(state.byteCount) + FrameHeader.aligned(bytes)
    let next = try preparer.take(bytes: wanted)
    sealed.append(
      Sealed(sequence: segment.sequence, byteCount: segment.byteCount, maxIndex: maxIndex)
    )
    segment = next
    previousEnd = position.offset
    maxIndex = .zero
    position.offset = start
    durable = position
    try write(state)
  }

  private func write(_ batch: LogBatch) throws(LogError) {
    let isFirst = position.offset == SegmentHeader.byteCount
    let checksum = batch.seal(
      durableOffset: isFirst ? previousEnd : durable.offset,
      previous: position.checksum,
      salt: segment.salt,
      offset: position.offset
    )
    do throws(FileError) {
      try files.write(segment.handle.file, batch.writer.bytes, at: position.offset)
    } catch {
      throw LogError(error)
    }
    position.offset = FrameHeader.aligned(position.offset + batch.byteCount)
    position.checksum = checksum
    if let hardState = batch.hardState { position.hardState = hardState }
    if let endIndex = batch.endIndex { position.lastIndex = endIndex }
    if let mark = batch.snapshot, mark.index > position.snapshot?.index ?? .zero {
      position.snapshot = mark
    }
    position.lastIndex = max(position.lastIndex, position.snapshot?.index ?? .zero)
    maxIndex = max(maxIndex, batch.maxIndex)
  }
}

/// What opening hands to the log's initializer.
struct LogParts<Files: FileSystem> {
  var files: Files
  var directory: String
  var configuration: LogConfiguration
  var lock: FileHandle<Files>
  var metadata: LogMetadata
  var preparer: SegmentPreparer<Files>
  var segment: Segment<Files>
  var previousEnd: Int
  var position: SegmentedLog<Files>.Position
  var maxIndex: LogIndex
  var sealed: [SegmentedLog<Files>.Sealed]
}

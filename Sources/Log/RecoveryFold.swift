import Base

/// Folds the records of a log, in order, into the state they leave. See FORMAT.md, "What the
/// sequence of records means".
struct RecoveryFold {
  private(set) var metadata: LogMetadata?
  private(set) var hardState: LogHardState?
  private(set) var snapshot: SnapshotMark?
  /// The first entry held, or 0.
  private(set) var firstIndex = LogIndex.zero
  /// The last entry held, or 0.
  private(set) var lastEntry = LogIndex.zero
  // The terms of the entries held: each run reaches to the start of the next.
  private var runs: [(from: LogIndex, term: Term)] = []

  /// The last entry's index, or the mark's if that is later.
  var lastIndex: LogIndex { max(lastEntry, snapshot?.index ?? .zero) }

  /// Whether the entries go on from the mark without a gap.
  var isGapless: Bool {
    lastEntry == .zero || firstIndex <= (snapshot?.index ?? .zero) + 1
  }

  /// Takes the next record; what it does to the entries is passed to `emit`.
  mutating func apply(
    _ record: LogRecord,
    _ emit: (RecoveryEvent) -> Void
  ) throws(LogDamage) {
    switch record {
    case .metadata(let found, _):
      guard metadata == nil || metadata == found else { throw .metadata }
      metadata = found
    case .hardState(let found):
      hardState = found
    case .entry(let entry):
      try apply(entry, emit)
    case .snapshot(let mark):
      apply(mark, emit)
    }
  }

  private mutating func apply(
    _ entry: RecoveredEntry,
    _ emit: (RecoveryEvent) -> Void
  ) throws(LogDamage) {
    if lastEntry != .zero {
      guard entry.index <= lastEntry + 1 else { throw .entryGap }
      if entry.index <= lastEntry { remove(from: entry.index, emit) }
    }
    if let snapshot, entry.index <= snapshot.index { return }
    // Removed down to nothing, or a gap that removal of later entries left.
    if lastEntry == .zero { firstIndex = entry.index }
    lastEntry = entry.index
    if runs.last?.term != entry.term { runs.append((entry.index, entry.term)) }
    emit(.append(entry))
  }

  private mutating func apply(_ mark: SnapshotMark, _ emit: (RecoveryEvent) -> Void) {
    if let snapshot, mark.index <= snapshot.index { return }
    snapshot = mark
    guard lastEntry != .zero, firstIndex <= mark.index || mark.replacesLog else { return }
    let isHeld = mark.index < lastEntry && term(at: mark.index) == mark.term
    guard isHeld, !mark.replacesLog else {
      remove(from: firstIndex, emit)
      return
    }
    emit(.removeThrough(mark.index))
    firstIndex = mark.index + 1
    while runs.count > 1, runs[1].from <= firstIndex { runs.removeFirst() }
  }

  private func term(at index: LogIndex) -> Term? {
    runs.last { $0.from <= index }?.term
  }

  private mutating func remove(from index: LogIndex, _ emit: (RecoveryEvent) -> Void) {
    emit(.removeFrom(index))
    while let last = runs.last, last.from >= index { runs.removeLast() }
    if index <= firstIndex {
      firstIndex = .zero
      lastEntry = .zero
      runs.removeAll()
    } else {
      lastEntry = index - 1
    }
  }
}

/// Gathers streamed entries into an array.
struct EntryCollector {
  private var entries: [RecoveredEntry] = []
  private var removedCount = 0

  mutating func apply(_ event: RecoveryEvent) {
    switch event {
    case .append(let entry):
      entries.append(entry)
    case .removeFrom(let index):
      while entries.count > removedCount, let last = entries.last, last.index >= index {
        entries.removeLast()
      }
    case .removeThrough(let index):
      while removedCount < entries.count, entries[removedCount].index <= index {
        // Lets go of the block at once, of the slot later.
        entries[removedCount].data = SharedBytes()
        removedCount += 1
      }
      if removedCount > entries.count / 2 {
        entries.removeFirst(removedCount)
        removedCount = 0
      }
    }
  }

  consuming func result() -> [RecoveredEntry] {
    removedCount == 0 ? entries : Array(entries[removedCount...])
  }
}

package import Base
package import Log
import Proto
package import Raft

/// What a member starts from, put together from its store and its log.
package enum Recovery {
  /// Why log and store cannot be brought together.
  package enum Failure: Error, Equatable {
    /// The store has applied entries that the log does not reach: one of them is not this
    /// member's, or the log lost what it had acknowledged.
    case logBehindStore(log: LogIndex, store: LogIndex)
    /// The log starts after what the store has applied.
    case gap(store: LogIndex, firstInLog: LogIndex)
    /// The log has another entry at the store's applied index than the store applied.
    case conflict(LogIndex)
    /// An entry's content cannot be read.
    case entry(LogIndex)
  }

  /// Raft's view of what is durable: the log as `SegmentedLog.open` returned it, entries included, and
  /// the store's mark, whose membership is the one to start with.
  ///
  /// `installed` is what the store says of the last snapshot that was installed there
  /// (`StoredMetadata.installKey`). When the process ended between the store's turn and the log's,
  /// `cutsLog` is true: the log has to be told (`logCut`) before anything is added to it.
  package static func restore(
    log: RecoveredLog,
    applied: LogMark,
    installed: LogMark?
  ) throws(Failure) -> (state: RestoredState, cutsLog: Bool) {
    if let installed, installed.index == applied.index, installed.term == applied.term,
      term(at: applied.index, in: log) != applied.term
    {
      return (afterInstall(log, applied), true)
    }
    return (try restoredState(log: log, applied: applied), false)
  }

  private static func afterInstall(_ log: RecoveredLog, _ applied: LogMark) -> RestoredState {
    var restored = RestoredState()
    restored.confState = applied.confState
    restored.applied = applied.index
    restored.snapshotIndex = applied.index
    restored.snapshotTerm = applied.term
    let known = log.hardState ?? LogHardState()
    // The term that came with the snapshot may be as lost as the mark.
    let isKnownTerm = known.term >= applied.term
    restored.hardState = HardState(
      term: isKnownTerm ? known.term : applied.term,
      vote: isKnownTerm ? known.vote : .none,
      commit: applied.index
    )
    return restored
  }

  /// What the log has to be given first when `cutsLog` is true: all it had is of the past.
  package static func logCut(_ state: RestoredState, applied: LogMark) -> LogBatch {
    var mark = applied.snapshotMark
    mark.replacesLog = true
    let batch = LogBatch(capacity: 512)
    batch.append(snapshot: mark)
    batch.append(
      hardState: LogHardState(
        term: state.hardState.term,
        vote: state.hardState.vote,
        commit: state.hardState.commit
      )
    )
    return batch
  }

  private static func term(at index: LogIndex, in log: RecoveredLog) -> Term? {
    if let mark = log.snapshot, mark.index == index { return mark.term }
    guard let first = log.entries.first, index >= first.index else { return nil }
    let place = Int(index - first.index)
    return place < log.entries.count ? log.entries[place].term : nil
  }

  /// The same for a store in which no snapshot was ever installed.
  package static func restoredState(
    log: RecoveredLog,
    applied: LogMark
  ) throws(Failure) -> RestoredState {
    var restored = RestoredState()
    restored.confState = applied.confState
    restored.applied = applied.index
    // Without a mark the log reaches back to its first entry.
    restored.snapshotIndex = log.snapshot?.index ?? .zero
    restored.snapshotTerm = log.snapshot?.term ?? .zero
    guard restored.snapshotIndex <= applied.index else {
      throw .gap(store: applied.index, firstInLog: restored.snapshotIndex + 1)
    }
    guard log.lastIndex >= applied.index else {
      throw .logBehindStore(log: log.lastIndex, store: applied.index)
    }
    if applied.index > .zero, term(at: applied.index, in: log) != applied.term {
      throw .conflict(applied.index)
    }
    restored.entries.reserveCapacity(log.entries.count)
    for entry in log.entries { restored.entries.append(try Self.entry(entry)) }
    restored.awaitsSnapshot = applied.index == .zero && applied.confState.voters.isEmpty
    let hardState = log.hardState ?? LogHardState()
    // A commit index alone is not worth a sync, so the log's may be older than the store's.
    restored.hardState = HardState(
      term: hardState.term,
      vote: hardState.vote,
      commit: max(hardState.commit, applied.index)
    )
    return restored
  }

  private static func entry(_ recovered: RecoveredEntry) throws(Failure) -> Entry {
    let payload: Payload
    switch recovered.kind {
    case EntryKind.normal where recovered.data.isEmpty:
      payload = .empty
    case EntryKind.normal:
      payload = .normal(recovered.data)
    case EntryKind.configuration:
      let message = recovered.data.withUnsafeBytes { try? Raftpb.ConfChangeV2(decoding: $0) }
      guard let change = message.flatMap(ConfChange.init) else { throw .entry(recovered.index) }
      payload = .configuration(change)
    default:
      throw .entry(recovered.index)
    }
    return Entry(term: recovered.term, index: recovered.index, payload: payload)
  }
}

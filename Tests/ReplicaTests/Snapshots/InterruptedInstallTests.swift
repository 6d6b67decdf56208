import Base
import Log
import Raft
import Replica
import Testing

/// The store has a snapshot, and the process ended before the log knew.
struct InterruptedInstallTests {
  private let mark = LogMark(
    index: LogIndex(100),
    term: Term(5),
    confState: ConfState(voters: [MemberID(7)])
  )

  private func entry(_ index: UInt64, _ term: UInt64) -> RecoveredEntry {
    RecoveredEntry(
      index: LogIndex(index),
      term: Term(term),
      kind: EntryKind.normal,
      data: SharedBytes([1])
    )
  }

  private func log(_ entries: [RecoveredEntry], term: UInt64 = 4) -> RecoveredLog {
    RecoveredLogBuilder.make(
      hardState: LogHardState(term: Term(term), vote: MemberID(9), commit: LogIndex(3)),
      snapshot: nil,
      entries: entries
    )
  }

  @Test func aShorterLogIsCut() throws {
    let log = log([entry(1, 1), entry(2, 1)])
    let (state, cutsLog) = try Recovery.restore(log: log, applied: mark, installed: mark)
    #expect(cutsLog)
    #expect(state.applied == mark.index)
    #expect(state.snapshotIndex == mark.index)
    #expect(state.snapshotTerm == mark.term)
    #expect(state.entries.isEmpty)
    #expect(state.confState == mark.confState)
    // The term of the snapshot is newer than what the log knew: nobody got a vote in it.
    #expect(state.hardState == HardState(term: Term(5), vote: .none, commit: mark.index))
    let batch = Recovery.logCut(state, applied: mark)
    #expect(batch.snapshot?.replacesLog == true)
    #expect(batch.snapshot?.index == mark.index)
    #expect(batch.hardState?.term == Term(5))
    _ = try RaftNode(
      configuration: RaftConfiguration(id: MemberID(7)),
      restored: state,
      seed: 1
    )
  }

  @Test func aVoteInTheSnapshotsTermStays() throws {
    let log = log([entry(1, 1)], term: 5)
    let state = try Recovery.restore(log: log, applied: mark, installed: mark).state
    #expect(state.hardState.vote == MemberID(9))
  }

  @Test func aLongerLogOfAnotherHistoryIsCut() throws {
    let log = log((1...120).map { entry($0, 4) })
    let (state, cutsLog) = try Recovery.restore(log: log, applied: mark, installed: mark)
    #expect(cutsLog)
    #expect(state.entries.isEmpty)
  }

  @Test func aLogThatKnowsTheSnapshotIsKept() throws {
    let known = RecoveredLogBuilder.make(
      hardState: LogHardState(term: Term(5), commit: LogIndex(100)),
      snapshot: mark.snapshotMark,
      entries: [entry(101, 5)]
    )
    let (state, cutsLog) = try Recovery.restore(log: known, applied: mark, installed: mark)
    #expect(!cutsLog)
    #expect(state.entries.count == 1)
  }

  @Test func withoutASnapshotALogThatLacksEntriesIsRefused() {
    let short = log([entry(1, 1)])
    #expect(throws: Recovery.Failure.logBehindStore(log: LogIndex(1), store: mark.index)) {
      try Recovery.restore(log: short, applied: mark, installed: nil)
    }
    var older = mark
    older.index = LogIndex(50)
    #expect(throws: Recovery.Failure.logBehindStore(log: LogIndex(1), store: mark.index)) {
      try Recovery.restore(log: short, applied: mark, installed: older)
    }
    let other = log((1...120).map { entry($0, 4) })
    #expect(throws: Recovery.Failure.conflict(mark.index)) {
      try Recovery.restore(log: other, applied: mark, installed: nil)
    }
  }
}

import Base
import Log
import Membership
import Proto
import Raft
import Replica
import Testing

/// Log and store put together, and the cases in which they do not fit.
struct RecoveryTests {
  static let confState = ConfState(voters: [MemberID(7)])

  static func mark(_ index: UInt64, _ term: UInt64 = 1) -> LogMark {
    var mark = StoredMetadata(founding: MemberTable(clusterID: ClusterID(1))).applied
    mark.index = LogIndex(index)
    mark.term = Term(term)
    mark.confState = confState
    return mark
  }

  static func log(
    snapshot: UInt64? = nil,
    _ entries: [RecoveredEntry] = [],
    hardState: LogHardState? = nil
  ) -> RecoveredLog {
    RecoveredLogBuilder.make(
      hardState: hardState,
      snapshot: snapshot.map {
        SnapshotMark(index: LogIndex($0), term: Term(1), confState: SharedBytes())
      },
      entries: entries
    )
  }

  static func entry(
    _ index: UInt64,
    kind: UInt8 = EntryKind.normal,
    _ data: [UInt8] = [1]
  ) -> RecoveredEntry {
    RecoveredEntry(index: LogIndex(index), term: Term(1), kind: kind, data: SharedBytes(data))
  }

  @Test func anEmptyLogAndStoreAreAStart() throws {
    let restored = try Recovery.restoredState(log: Self.log(), applied: Self.mark(0, 0))
    #expect(restored.applied == .zero)
    #expect(restored.snapshotIndex == .zero)
    #expect(restored.entries.isEmpty)
    #expect(restored.hardState == HardState())
    #expect(restored.confState == Self.confState)
  }

  @Test func entriesComeBackInTheirKinds() throws {
    let change = ConfChange(changes: [.init(.addLearner, MemberID(9))], context: SharedBytes([5]))
    let log = Self.log(
      [
        Self.entry(1, []), Self.entry(2, [8, 9]),
        Self.entry(3, kind: EntryKind.configuration, Raftpb.ConfChangeV2(change).encoded()),
      ],
      hardState: LogHardState(term: Term(4), vote: MemberID(7), commit: LogIndex(2))
    )
    let restored = try Recovery.restoredState(log: log, applied: Self.mark(1))
    #expect(
      restored.entries.map(\.payload) == [
        .empty, .normal(SharedBytes([8, 9])), .configuration(change),
      ]
    )
    #expect(restored.entries.map(\.index) == [LogIndex(1), LogIndex(2), LogIndex(3)])
    #expect(
      restored.hardState == HardState(term: Term(4), vote: MemberID(7), commit: LogIndex(2))
    )
  }

  @Test func theStoreKnowsACommitThatTheLogDoesNot() throws {
    let log = Self.log([Self.entry(1), Self.entry(2)], hardState: LogHardState(term: Term(1)))
    let restored = try Recovery.restoredState(log: log, applied: Self.mark(2))
    #expect(restored.hardState.commit == LogIndex(2))
  }

  @Test func theMarkIsWhereTheLogBegins() throws {
    let log = Self.log(snapshot: 5, [Self.entry(6), Self.entry(7)])
    let restored = try Recovery.restoredState(log: log, applied: Self.mark(6))
    #expect(restored.snapshotIndex == LogIndex(5))
    #expect(restored.snapshotTerm == Term(1))
    #expect(restored.applied == LogIndex(6))
    let atMark = try Recovery.restoredState(log: log, applied: Self.mark(5))
    #expect(atMark.applied == LogIndex(5))
  }

  @Test func aStoreAheadOfTheLogIsRefused() {
    #expect(throws: Recovery.Failure.logBehindStore(log: LogIndex(2), store: LogIndex(3))) {
      try Recovery.restoredState(
        log: Self.log([Self.entry(1), Self.entry(2)]),
        applied: Self.mark(3)
      )
    }
    #expect(throws: Recovery.Failure.logBehindStore(log: .zero, store: LogIndex(1))) {
      try Recovery.restoredState(log: Self.log(), applied: Self.mark(1))
    }
  }

  @Test func aGapBetweenStoreAndLogIsRefused() {
    #expect(throws: Recovery.Failure.gap(store: LogIndex(4), firstInLog: LogIndex(6))) {
      try Recovery.restoredState(
        log: Self.log(snapshot: 5, [Self.entry(6)]),
        applied: Self.mark(4)
      )
    }
    // A store that was lost altogether.
    #expect(throws: Recovery.Failure.gap(store: .zero, firstInLog: LogIndex(6))) {
      try Recovery.restoredState(log: Self.log(snapshot: 5), applied: Self.mark(0, 0))
    }
  }

  static let unreadable: [(kind: UInt8, data: [UInt8])] = [
    // The first form of configuration changes, kinds that are none, content that does not decode.
    (1, [1]), (3, []), (255, [1]), (EntryKind.configuration, [0x12, 0x7f]),
    // A change of a kind, and a transition, that this build does not know.
    (EntryKind.configuration, [0x12, 0x02, 0x08, 0x09]), (EntryKind.configuration, [0x08, 0x09]),
  ]

  @Test(arguments: unreadable)
  func anEntryThatCannotBeReadIsNamed(_ kind: UInt8, _ data: [UInt8]) {
    #expect(throws: Recovery.Failure.entry(LogIndex(2))) {
      try Recovery.restoredState(
        log: Self.log([Self.entry(1), Self.entry(2, kind: kind, data)]),
        applied: Self.mark(0, 0)
      )
    }
  }
}

/// Makes a log that says what a test wants it to have held.
enum RecoveredLogBuilder {
  static func make(
    hardState: LogHardState?,
    snapshot: SnapshotMark?,
    entries: [RecoveredEntry]
  ) -> RecoveredLog {
    let metadata = LogMetadata(clusterID: ClusterID(1), memberID: MemberID(7))
    guard
      var recovered = try? SegmentedLog.open(
        directory: "log",
        files: SimulatedFileSystem(seed: 1),
        configuration: LogConfiguration(segmentBytesMax: 8 << 10, firstSegmentBytes: 8 << 10),
        metadata: metadata
      ).recovered
    else { preconditionFailure("no log on a new simulated disk") }
    recovered.hardState = hardState
    recovered.snapshot = snapshot
    recovered.entries = entries
    recovered.lastIndex = entries.last?.index ?? snapshot?.index ?? .zero
    return recovered
  }
}

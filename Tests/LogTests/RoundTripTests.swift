import Base
import Log
import Testing

@Suite struct RoundTripTests {
  @Test func aNewLogIsEmpty() throws {
    let files = SimulatedFileSystem(seed: 1)
    let (log, recovered) = try openLog(files)
    #expect(recovered.isNew && recovered.metadata == owner)
    #expect(recovered.entries.isEmpty && recovered.hardState == nil && recovered.snapshot == nil)
    #expect(log.lastIndex == .zero)
  }

  @Test func whatWasSyncedIsReadBack() throws {
    let files = SimulatedFileSystem(seed: 2)
    let entries = [
      RecoveredEntry(index: LogIndex(1), term: Term(1), kind: 2, data: SharedBytes([0, 255])),
      RecoveredEntry(
        index: LogIndex(2),
        term: Term(UInt64.max),
        kind: 255,
        data: SharedBytes()
      ),
      entry(3, term: UInt64.max, String(repeating: "x", count: 3000)),
    ]
    do {
      let (log, _) = try openLog(files)
      try log.write(Array(entries[..<1]), hardState(1, 0xa1, 0))
      try log.write(Array(entries[1...]), hardState(UInt64.max, 7, 2))
      #expect(log.lastIndex == LogIndex(3) && !log.isDirty)
    }
    files.crash()
    let (log, recovered) = try openLog(files, metadata: nil)
    #expect(recovered.entries == entries)
    #expect(recovered.hardState == hardState(UInt64.max, 7, 2))
    #expect(!recovered.isNew && recovered.lastIndex == LogIndex(3))
    #expect(log.lastIndex == LogIndex(3))
  }

  @Test func reopeningAfterEachBatchKeepsAll() throws {
    let files = SimulatedFileSystem(seed: 3)
    var expected: [RecoveredEntry] = []
    for index in 1...UInt64(60) {
      let (log, recovered) = try openLog(files)
      #expect(recovered.entries == expected)
      let added = entry(index, term: 1 + index / 7, String(repeating: "v", count: Int(index) * 9))
      try log.write([added], hardState(1 + index / 7, 1, index - 1))
      expected.append(added)
      if index % 3 == 0 { files.crash() } else { files.restart() }
    }
    let (log, recovered) = try openLog(files)
    #expect(recovered.entries == expected)
    #expect(log.segmentCount > 3)
  }

  @Test func aBatchLargerThanASegmentGetsALargerSegment() throws {
    let files = SimulatedFileSystem(seed: 4)
    let big = entry(2, String(repeating: "b", count: 100_000))
    do {
      let (log, _) = try openLog(files)
      try log.write([entry(1, "a")])
      try log.preparer.prepare()
      try log.write([big])
      try log.write([entry(3, "c")])
    }
    files.crash()
    let (_, recovered) = try openLog(files)
    #expect(recovered.entries == [entry(1, "a"), big, entry(3, "c")])
  }

  @Test func aLaterEntryReplacesItsIndexAndAllAfter() throws {
    let files = SimulatedFileSystem(seed: 5)
    do {
      let (log, _) = try openLog(files)
      try log.write((1...9).map { entry($0, "old") })
      try log.write([entry(4, term: 2, "new"), entry(5, term: 2, "new")])
      #expect(log.lastIndex == LogIndex(5))
      try log.write([entry(6, term: 3, "x"), entry(5, term: 4, "y")])
    }
    files.restart()
    let (log, recovered) = try openLog(files)
    #expect(
      recovered.entries == (1...3).map { entry($0, "old") }
        + [entry(4, term: 2, "new"), entry(5, term: 4, "y")]
    )
    #expect(log.lastIndex == LogIndex(5))
  }

  @Test func aMarkDropsTheEntriesBeforeIt() throws {
    let files = SimulatedFileSystem(seed: 6)
    do {
      let (log, _) = try openLog(files)
      try log.write((1...9).map { entry($0) })
      try log.recordSnapshot(
        index: LogIndex(6),
        term: Term(1),
        confState: SharedBytes([1, 2, 3])
      )
      try log.recordSnapshot(index: LogIndex(2), term: Term(1), confState: SharedBytes())
      try log.sync()
    }
    files.crash()
    let (_, recovered) = try openLog(files)
    #expect(recovered.snapshot == mark(6))
    #expect(recovered.entries == (7...9).map { entry($0) })
    #expect(recovered.lastIndex == LogIndex(9))
  }

  @Test(arguments: [(6, 1, true, 6), (6, 2, false, 6), (12, 3, false, 12), (9, 1, false, 9)])
  func aLeadersSnapshotReplacesTheLog(
    index: UInt64,
    term: UInt64,
    replaces: Bool,
    last: UInt64
  ) throws {
    let files = SimulatedFileSystem(seed: 7)
    let installed = mark(index, term: term, replacesLog: replaces)
    do {
      let (log, _) = try openLog(files)
      try log.write((1...9).map { entry($0) })
      try log.write([], nil, installed)
      if replaces { #expect(log.lastIndex == LogIndex(last)) }
    }
    files.restart()
    do {
      let (log, recovered) = try openLog(files)
      #expect(recovered.entries.isEmpty && recovered.snapshot == installed)
      #expect(log.lastIndex == LogIndex(last))
      try log.write([entry(last + 1, term: 3, "next")])
    }
    files.restart()
    let (_, recovered) = try openLog(files)
    #expect(recovered.entries == [entry(last + 1, term: 3, "next")])
  }

  @Test func entriesStreamAsTheyAreReplacedAndDropped() throws {
    let files = SimulatedFileSystem(seed: 8)
    do {
      let (log, _) = try openLog(files)
      try log.write([entry(1), entry(2), entry(3)])
      try log.write([entry(2, term: 2)])
      try log.write([entry(3, term: 2)], nil, mark(2, term: 2))
    }
    files.restart()
    var events: [String] = []
    let (_, recovered) = try SegmentedLog.open(
      directory: directory,
      files: files,
      configuration: small,
      metadata: nil
    ) { event in
      switch event {
      case .append(let entry): events.append("+\(entry.index)/\(entry.term)")
      case .removeFrom(let index): events.append("from \(index)")
      case .removeThrough(let index): events.append("through \(index)")
      }
    }
    #expect(events == ["+1/1", "+2/1", "+3/1", "from 2", "+2/2", "+3/2", "through 2"])
    #expect(recovered.entries.isEmpty && recovered.lastIndex == LogIndex(3))
  }

  @Test func dumpShowsEveryRecordInPlace() throws {
    let files = SimulatedFileSystem(seed: 9)
    let (log, _) = try openLog(files)
    try log.write([entry(1), entry(2)], hardState(1, 2, 3))
    try log.write([entry(2, term: 5, "again")], nil, mark(1))
    var kinds: [String] = []
    var places: [Int] = []
    try LogDump.forEachRecord(directory: directory, files: files) { item in
      places.append(item.offset)
      switch item.record {
      case .metadata(let found, _): kinds.append(found == owner ? "owner" : "?")
      case .entry(let entry): kinds.append("\(entry.index)/\(entry.term)")
      case .hardState(let state): kinds.append("hard \(state.commit)")
      case .snapshot(let mark): kinds.append("mark \(mark.index)")
      }
    }
    #expect(kinds == ["owner", "1/1", "2/1", "hard 3", "2/5", "mark 1"])
    #expect(places == places.sorted() && places.first == framesStart + 32)
  }

  @Test func aLogHasOneOwnerAndOneUser() throws {
    let files = SimulatedFileSystem(seed: 10)
    #expect(throws: LogError.notFound(directory: directory)) {
      files.setContent(directory + "/unrelated", [])
      _ = try openLog(files, metadata: nil)
    }
    do {
      let (log, _) = try openLog(files)
      #expect(throws: LogError.locked(file: directory + "/LOCK")) { _ = try openLog(files) }
      try log.write([entry(1)])
    }
    let other = LogMetadata(clusterID: ClusterID(2), memberID: MemberID(0xa1))
    #expect(throws: LogError.foreign(found: owner, wanted: other)) {
      _ = try openLog(files, metadata: other)
    }
    let (_, recovered) = try openLog(files)
    #expect(recovered.entries == [entry(1)])
  }
}

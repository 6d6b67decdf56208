import Base
import Glibc
import Log
import Testing

/// A log under random operations and faults, checked against the model: everything synced is there
/// after a crash, and after it some of the batches that followed, in order, each whole or not at all.
private struct Run {
  let seed: UInt64
  var random: TestNumbers
  let files: SimulatedFileSystem
  var log: SimulatedLog
  /// The states the log may be in after a crash: the last synced one, then one per batch.
  var states = [LogModel()]
  /// What was appended since the last good sync.
  var batches: [LogBatch] = []
  var crashes = 0
  /// How many released files were written over.
  var recycledCount = 0

  init(seed: UInt64) throws(LogError) {
    self.seed = seed
    random = TestNumbers(seed)
    files = SimulatedFileSystem(seed: seed)
    log = try openLog(files).log
  }

  var latest: LogModel { states[states.count - 1] }

  mutating func step() throws {
    let spareCount = try spareCount()
    let crashesBefore = crashes
    try takeStep()
    if crashes == crashesBefore { recycledCount += max(0, try spareCount - self.spareCount()) }
    #expect(log.lastIndex.rawValue == latest.lastIndex, "seed \(seed)")
  }

  private func spareCount() throws -> Int {
    try files.list(directory).count { $0.hasPrefix("spare-") }
  }

  private mutating func takeStep() throws {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<50: try appendBatch()
    case 50..<75:
      try log.sync()
      settle(on: latest)
    case 75..<80: try appendMark()
    case 80..<85: log.release(through: LogIndex(latest.markIndex))
    case 85..<88: try log.preparer.prepare()
    case 88..<93: try crash { $0.crash() }
    case 93..<95: try crash { $0.restart() }
    case 95..<97: try failSync()
    case 97..<98: try failWrite()
    case 98..<99: try failMovingOn()
    default: try crashAtAnOperation()
    }
  }

  /// The log is in this state, and that is durable.
  private mutating func settle(on state: LogModel) {
    states = [state]
    batches = []
  }

  /// Notes a batch that the log has taken.
  private mutating func note(_ batch: LogBatch, _ state: LogModel) {
    states.append(state)
    batches.append(batch)
  }

  mutating func makeBatch() -> ([RecoveredEntry], LogHardState?) {
    var added: [RecoveredEntry] = []
    var index = latest.lastIndex + 1
    if Int.random(in: 0..<6, using: &random) == 0 {
      index = UInt64.random(in: latest.markIndex + 1...index, using: &random)
    }
    let isBig = Int.random(in: 0..<40, using: &random) == 0
    for _ in 0..<Int.random(in: 0...4, using: &random) {
      let length = Int.random(in: 0...(isBig ? 9000 : 700), using: &random)
      let bytes = [UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: length)
      let term = UInt64.random(in: 1...5, using: &random)
      added.append(
        RecoveredEntry(
          index: LogIndex(index),
          term: Term(term),
          kind: UInt8(term),
          data: SharedBytes(bytes)
        )
      )
      index += 1
    }
    let state = Bool.random(using: &random) ? hardState(index, index % 3, index / 2) : nil
    return (added, state)
  }

  mutating func appendBatch() throws {
    let (added, state) = makeBatch()
    var next = latest
    next.write(added, state, nil)
    let made = batch(added, state)
    try log.append(made)
    note(made, next)
  }

  mutating func appendMark() throws {
    let last = latest.lastIndex
    guard last > latest.markIndex else { return }
    let replaces = Int.random(in: 0..<4, using: &random) == 0
    let index = UInt64.random(in: latest.markIndex + 1...last + (replaces ? 5 : 0), using: &random)
    let term = latest.entries.first { $0.index.rawValue == index }?.term ?? Term(9)
    let mark = SnapshotMark(
      index: LogIndex(index),
      term: term,
      confState: SharedBytes([UInt8(index & 255)]),
      replacesLog: replaces
    )
    var next = latest
    next.write([], nil, mark)
    try log.recordSnapshot(
      index: mark.index,
      term: mark.term,
      confState: mark.confState,
      replacesLog: replaces
    )
    note(batch([], nil, mark), next)
  }

  mutating func crash(_ kill: (SimulatedFileSystem) -> Void) throws {
    kill(files)
    crashes += 1
    let (log, recovered) = try openLog(files)
    self.log = log
    let found = LogModel(recovered)
    #expect(states.contains(found), "seed \(seed) crash \(crashes)")
    // What was read is durable now: a crash without a sync must bring the same again.
    settle(on: found)
  }

  mutating func failSync() throws {
    try appendBatch()
    files.fail(.syncData)
    if (try? log.sync()) != nil {
      // The batch was empty and nothing else was unsynced; the fault hits a later sync.
      files.restart()
      try crash { $0.crash() }
      return
    }
    #expect(log.failure != nil)
    #expect(throws: LogError.self) { try log.append(batch([entry(log.lastIndex.rawValue + 1)])) }
    if Bool.random(using: &random) {
      try reopen()
    } else {
      let powerGoes = Bool.random(using: &random)
      try crash { powerGoes ? $0.crash() : $0.restart() }
    }
  }

  /// Heals the log after an error. What it says is durable then is all that it holds; the rest is given
  /// up or appended again, and the power may go meanwhile.
  mutating func reopen() throws {
    let durableCount = try log.reopen()
    let rest = Array(zip(batches, states.dropFirst()).dropFirst(durableCount))
    let durable = states[durableCount]
    let cut = files.copy()
    cut.crash()
    #expect(LogModel(try openLog(cut).recovered) == durable, "seed \(seed)")
    settle(on: durable)
    switch Int.random(in: 0..<3, using: &random) {
    case 0: break
    case 1: for (batch, state) in rest { try appendAgain(batch, state) }
    default:
      files.stop(atOperation: files.operationCount + Int.random(in: 1...10, using: &random))
      do throws(LogError) {
        for (batch, state) in rest { try appendAgain(batch, state) }
      } catch {
        #expect(log.failure == error, "seed \(seed)")
      }
      try crash { $0.crash() }
    }
  }

  private mutating func appendAgain(_ batch: LogBatch, _ state: LogModel) throws(LogError) {
    // Before it fails some of it may be on the disk.
    note(batch, state)
    try log.append(batch)
  }

  /// The disk refuses something of what it takes to go on in another segment.
  mutating func failMovingOn() throws {
    let operations: [FileOperation] = [
      .open, .preallocate, .write, .syncData, .rename, .syncDirectory, .size, .read,
    ]
    let operation = operations.randomElement(using: &random) ?? .write
    files.fail(operation, skip: Int.random(in: 0...2, using: &random))
    for _ in 0..<20 {
      do { try appendBatch() } catch { return try reopen() }
    }
    // It was not needed.
    try crash { $0.restart() }
  }

  mutating func failWrite() throws {
    let (added, state) = makeBatch()
    let made = batch(added, state)
    guard !made.isEmpty else { return }
    var next = latest
    next.write(added, state, nil)
    files.fail(.write)
    #expect(throws: LogError.self) { try log.append(made) }
    if Bool.random(using: &random) {
      try reopen()
    } else {
      note(made, next)
      try crash { $0.crash() }
    }
  }

  /// Everything fails from some operation on, as when the power goes in the middle of a call.
  mutating func crashAtAnOperation() throws {
    files.stop(atOperation: files.operationCount + Int.random(in: 1...30, using: &random))
    do throws(LogError) {
      for _ in 0..<20 {
        let (added, state) = makeBatch()
        var next = latest
        next.write(added, state, nil)
        let made = batch(added, state)
        note(made, next)
        try log.append(made)
        if Bool.random(using: &random) {
          try log.sync()
          settle(on: latest)
        }
        log.release(through: LogIndex(latest.markIndex))
      }
    } catch {
      #expect(log.failure == error, "seed \(seed)")
    }
    try crash { $0.crash() }
  }
}

@Suite struct CrashTests {
  // 500 runs; `MARTLET_LOG_BLOCKS=60` makes them 3,000.
  static let blocks = getenv("MARTLET_LOG_BLOCKS").flatMap { UInt64(String(cString: $0)) } ?? 10

  @Test(arguments: 0..<blocks)
  func nothingSyncedIsLostAndNothingIsHalfThere(block: UInt64) throws {
    var recycledCount = 0
    for seed in block * 50..<block * 50 + 50 {
      do {
        var run = try Run(seed: seed)
        for _ in 0..<80 { try run.step() }
        try run.crash { $0.crash() }
        recycledCount += run.recycledCount
      } catch {
        Issue.record("seed \(seed): \(error)")
      }
    }
    #expect(recycledCount > 0, "no file was written over")
  }

  @Test func aCrashAtEveryOperationOfALogsLife() throws {
    // The same life each time, cut off at each of its operations.
    for stop in 1...400 {
      let files = SimulatedFileSystem(seed: UInt64(stop))
      files.stop(atOperation: stop)
      var synced = 0
      var marked = 0
      do {
        let (log, _) = try openLog(files)
        for index in 1...UInt64(24) {
          try log.write([entry(index, String(repeating: "q", count: 900))])
          synced = Int(index)
          if index % 6 == 0 {
            try log.recordSnapshot(index: LogIndex(index), term: Term(1), confState: SharedBytes())
            try log.sync()
            marked = Int(index)
            log.release(through: LogIndex(index))
            try log.preparer.prepare()
          }
        }
      } catch {
        guard case .failed = error else { throw error }
      }
      files.crash()
      let (log, recovered) = try openLog(files)
      let last = Int(recovered.lastIndex.rawValue)
      #expect(last == synced || last == synced + 1, "stop \(stop)")
      let found = Int(recovered.snapshot?.index.rawValue ?? 0)
      #expect(found == marked || found == marked + 6, "stop \(stop)")
      try log.write([entry(UInt64(last) + 1)])
    }
  }
}

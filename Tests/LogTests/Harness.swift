import Base
import Log
import Testing

let directory = "/log"
let owner = LogMetadata(clusterID: ClusterID(0xc1), memberID: MemberID(0xa1))
let small = LogConfiguration(
  segmentBytesMax: 8 << 10,
  firstSegmentBytes: 8 << 10,
  spareBytesMax: 16 << 10,
  readBlockBytes: 4096
)

typealias SimulatedLog = SegmentedLog<SimulatedFileSystem>

/// Where the frames of a segment start; the first one is the state frame.
let framesStart = 4096

func segmentPath(_ sequence: Int) -> String {
  let digits = String(sequence, radix: 16)
  return directory + "/" + String(repeating: "0", count: 16 - digits.count) + digits + ".log"
}

func openLog(
  _ files: SimulatedFileSystem,
  _ configuration: LogConfiguration = small,
  metadata: LogMetadata? = owner
) throws(LogError) -> (log: SimulatedLog, recovered: RecoveredLog) {
  try SegmentedLog.open(
    directory: directory,
    files: files,
    configuration: configuration,
    metadata: metadata
  )
}

func entry(_ index: UInt64, term: UInt64 = 1, _ text: String = "") -> RecoveredEntry {
  let data = text.isEmpty ? SharedBytes() : SharedBytes(Array(text.utf8))
  return RecoveredEntry(index: LogIndex(index), term: Term(term), kind: 0, data: data)
}

func hardState(_ term: UInt64, _ vote: UInt64, _ commit: UInt64) -> LogHardState {
  LogHardState(term: Term(term), vote: MemberID(vote), commit: LogIndex(commit))
}

func mark(_ index: UInt64, term: UInt64 = 1, replacesLog: Bool = false) -> SnapshotMark {
  SnapshotMark(
    index: LogIndex(index),
    term: Term(term),
    confState: SharedBytes([1, 2, 3]),
    replacesLog: replacesLog
  )
}

func batch(
  _ entries: [RecoveredEntry],
  _ hardState: LogHardState? = nil,
  _ mark: SnapshotMark? = nil
) -> LogBatch {
  let batch = LogBatch()
  for entry in entries {
    batch.append(entry: entry.index, term: entry.term, kind: entry.kind, data: entry.data)
  }
  if let hardState { batch.append(hardState: hardState) }
  if let mark { batch.append(snapshot: mark) }
  return batch
}

/// What a log should hold, in the plainest way.
struct LogModel: Equatable {
  var entries: [RecoveredEntry] = []
  var hardState: LogHardState?
  var snapshot: SnapshotMark?

  var lastIndex: UInt64 { max(entries.last?.index.rawValue ?? 0, markIndex) }
  var markIndex: UInt64 { snapshot?.index.rawValue ?? 0 }

  mutating func write(_ added: [RecoveredEntry], _ state: LogHardState?, _ mark: SnapshotMark?) {
    for entry in added {
      entries.removeAll { $0.index >= entry.index }
      entries.append(entry)
    }
    if let state { hardState = state }
    if let mark, mark.index.rawValue > markIndex {
      snapshot = mark
      snapshot?.replacesLog = false
      entries = mark.replacesLog ? [] : entries.filter { $0.index > mark.index }
    }
  }

  init() {}

  init(_ recovered: RecoveredLog) {
    entries = recovered.entries
    hardState = recovered.hardState
    snapshot = recovered.snapshot
    snapshot?.replacesLog = false
  }
}

extension SegmentedLog {
  func write(
    _ entries: [RecoveredEntry],
    _ hardState: LogHardState? = nil,
    _ mark: SnapshotMark? = nil
  ) throws(LogError) {
    try append(batch(entries, hardState, mark))
    try sync()
  }
}

/// The offsets at which the frames of a segment start, in order.
func frameOffsets(_ files: SimulatedFileSystem, _ sequence: Int = 1) throws -> [Int] {
  var offsets: [Int] = []
  try LogDump.forEachRecord(directory: directory, files: files) { item in
    guard item.file == segmentPath(sequence), offsets.last != item.frameOffset else { return }
    offsets.append(item.frameOffset)
  }
  return offsets
}

/// Numbers from a seed for the tests' own choices.
struct TestNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) {
    state = seed &* 0x2545_f491_4f6c_dd1d &+ 1
  }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_f491_4f6c_dd1d
  }
}

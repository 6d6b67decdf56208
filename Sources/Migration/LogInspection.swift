package import Base
import Log
import MemberFiles
import Proto
import Replica

/// One record of a member's log, for showing.
package struct InspectedRecord: Sendable {
  /// `entry`, `hard-state`, `snapshot` or `metadata`.
  package var kind: String
  /// Of an entry or a snapshot mark.
  package var index: LogIndex?
  package var term: Term?
  /// Of an entry: the request in it by name, `configuration`, or `empty`.
  package var request: String?
  /// Of an entry's content, in bytes.
  package var sizeBytes: Int?
  /// What else there is to say.
  package var detail: String
  package var file: String
  package var offset: Int
}

/// Reads the log of a member that does not run.
package enum LogInspection {
  /// Calls `visit` with every record in the order in which they were written, replaced entries included;
  /// of the entries only those in `range`. Every checksum is verified: where the log is damaged, the
  /// records before come first, and then `LogError.damaged` is thrown.
  package static func forEachRecord(
    dataDirectory path: String,
    logDirectory: String? = nil,
    range: ClosedRange<UInt64>,
    _ visit: (InspectedRecord) -> Void
  ) throws {
    let directory = try OfflineDirectory.open(path, logDirectory: logDirectory)
    defer { directory.close() }
    try OfflineDirectory.forEachRecord(directory) { dumped in
      var record = InspectedRecord(
        kind: "",
        detail: "",
        file: dumped.file,
        offset: dumped.offset
      )
      describe(dumped.record, into: &record)
      if record.kind == "entry", let index = record.index, !range.contains(index.rawValue) {
        return
      }
      visit(record)
    }
  }

  private static func describe(_ found: LogRecord, into record: inout InspectedRecord) {
    switch found {
    case .metadata(let metadata, _):
      record.kind = "metadata"
      record.detail = "member \(metadata.memberID) of cluster \(metadata.clusterID)"
    case .hardState(let state):
      record.kind = "hard-state"
      record.term = state.term
      let vote = state.vote == .none ? "nobody" : "\(state.vote)"
      record.detail = "commit \(state.commit), vote for \(vote)"
    case .snapshot(let mark):
      record.kind = "snapshot"
      record.index = mark.index
      record.term = mark.term
      record.detail = mark.replacesLog ? "replaces the log" : "the store has what is before"
    case .entry(let entry):
      record.kind = "entry"
      record.index = entry.index
      record.term = entry.term
      record.sizeBytes = entry.data.count
      record.request = request(in: entry)
    }
  }

  private static func request(in entry: RecoveredEntry) -> String {
    if entry.kind == EntryKind.configuration { return "configuration" }
    if entry.kind != EntryKind.normal { return "kind \(entry.kind)" }
    if entry.data.isEmpty { return "empty" }
    return entry.data.withUnsafeBytes { bytes in
      var scanner = WireScanner(bytes)
      while let field = try? scanner.next() {
        if let operation = ReplicatedOperation(rawValue: field.number), case .content = field.value
        {
          return "\(operation)"
        }
      }
      return "unknown"
    }
  }
}

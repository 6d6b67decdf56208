import Base

/// Why a log could not be opened, written or synced.
package enum LogError: Error, Equatable, Sendable {
  /// There is no room to prepare a segment. Nothing of the batch was written; `reopen()` may help
  /// once there is space.
  case diskFull(file: String)
  /// The operating system refused; `code` is its errno.
  case failed(FileOperation, file: String, code: Int32)
  /// Bytes that were durable once do not read back as written.
  case damaged(file: String, offset: Int, LogDamage)
  /// Another process has the log open.
  case locked(file: String)
  /// There is no log here and none was to be made.
  case notFound(directory: String)
  /// The log belongs to another member or cluster.
  case foreign(found: LogMetadata, wanted: LogMetadata)
  /// A later version of Martlet wrote it.
  case formatUnknown(file: String, version: UInt32)
}

/// What is wrong at a place of the log.
package enum LogDamage: Error, Equatable, Sendable {
  /// The segment's header does not check.
  case segmentHeader
  /// The file is shorter than it was made.
  case cutShort
  /// No valid frame lies where later ones prove that there was one.
  case frame
  /// The frame checks, but a record in it cannot be read.
  case record
  /// An entry's index leaves a gap to the entry before.
  case entryGap
  /// No entry follows directly on the snapshot mark, though later ones are there.
  case missingEntries
  /// The frames do not say whose log it is, or say it twice differently.
  case metadata
}

extension LogError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .diskFull(let file):
      "log: no space left on the device to prepare \(file)"
    case .failed(let operation, let file, let code):
      "log: \(operation.rawValue) of \(file) failed: errno \(code) (\(errorText(code)))"
    case .damaged(let file, let offset, let damage):
      "log: damaged in \(file) at offset \(offset): \(damage)"
    case .locked(let file):
      "log: in use by another process (\(file) is locked)"
    case .notFound(let directory):
      "log: none found in \(directory)"
    case .foreign(let found, let wanted):
      "log: belongs to member \(found.memberID) of cluster \(found.clusterID), "
        + "not to member \(wanted.memberID) of cluster \(wanted.clusterID)"
    case .formatUnknown(let file, let version):
      "log: \(file) has format version \(version), which this program does not know"
    }
  }
}

extension LogDamage: CustomStringConvertible {
  package var description: String {
    switch self {
    case .segmentHeader: "the segment's header does not check"
    case .cutShort: "the file is shorter than it was made"
    case .frame: "the batch does not check, though later ones show that it was durable"
    case .record: "a record cannot be read"
    case .entryGap: "an entry does not follow on the one before"
    case .missingEntries: "entries between the snapshot mark and this segment are missing"
    case .metadata: "the records do not agree on whose log it is"
    }
  }
}

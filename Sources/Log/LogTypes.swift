package import Base

/// The sizes that a log works with. All in bytes unless the name says otherwise.
package struct LogConfiguration: Sendable {
  /// The size of a segment file; a batch that does not fit makes its segment larger. What a log
  /// takes on the disk, and what a start reads, is a few of them: those that its live entries
  /// touch, and one ahead.
  package var segmentBytesMax: Int
  /// The size of the first segment of a new log: small, so that a new member starts at once.
  package var firstSegmentBytes: Int
  /// How much the released segment files that are kept to be written over take together.
  package var spareBytesMax: Int
  /// How much is read at a time during recovery. Recovered entries are slices of such blocks.
  package var readBlockBytes: Int

  /// Bounds of `segmentBytesMax` and `firstSegmentBytes`.
  package static let segmentBytesRange = 8 << 10...1 << 30

  package init(
    segmentBytesMax: Int = 16 << 20,
    firstSegmentBytes: Int = 4 << 20,
    spareBytesMax: Int = 64 << 20,
    readBlockBytes: Int = 1 << 20
  ) {
    precondition(Self.segmentBytesRange.contains(segmentBytesMax))
    precondition(Self.segmentBytesRange.contains(firstSegmentBytes))
    precondition(spareBytesMax >= 0 && readBlockBytes >= 4096)
    self.segmentBytesMax = segmentBytesMax
    self.firstSegmentBytes = firstSegmentBytes
    self.spareBytesMax = spareBytesMax
    self.readBlockBytes = readBlockBytes
  }
}

/// Whose log it is. Fixed when the log is made.
package struct LogMetadata: Hashable, Sendable {
  package var clusterID: ClusterID
  package var memberID: MemberID

  package init(clusterID: ClusterID, memberID: MemberID) {
    self.clusterID = clusterID
    self.memberID = memberID
  }
}

/// What Raft must not forget besides its entries (raftpb.HardState).
package struct LogHardState: Hashable, Sendable {
  package var term: Term
  /// The candidate voted for in `term`, or `MemberID.none`.
  package var vote: MemberID
  package var commit: LogIndex

  package init(term: Term = .zero, vote: MemberID = .none, commit: LogIndex = .zero) {
    self.term = term
    self.vote = vote
    self.commit = commit
  }
}

/// The state through `index` is durable outside the log (raftpb.SnapshotMetadata).
package struct SnapshotMark: Equatable, Sendable {
  package var index: LogIndex
  package var term: Term
  /// An encoded raftpb.ConfState; opaque to the log.
  package var confState: SharedBytes
  /// Whether the snapshot came from a leader and took the place of the whole log: entries after
  /// `index` that were there before are gone. False for the member's own snapshots.
  package var replacesLog: Bool

  package init(index: LogIndex, term: Term, confState: SharedBytes, replacesLog: Bool = false) {
    self.index = index
    self.term = term
    self.confState = confState
    self.replacesLog = replacesLog
  }
}

/// One entry as read back (raftpb.Entry). `data` is a slice of the block it was read in.
package struct RecoveredEntry: Equatable, Sendable {
  package var index: LogIndex
  package var term: Term
  /// The number of the raftpb.EntryType.
  package var kind: UInt8
  package var data: SharedBytes

  package init(index: LogIndex, term: Term, kind: UInt8, data: SharedBytes) {
    self.index = index
    self.term = term
    self.kind = kind
    self.data = data
  }
}

/// One record of the log as read back.
package enum LogRecord: Sendable {
  /// `nonce` is a random number that makes the frame unlike any other.
  case metadata(LogMetadata, nonce: UInt64)
  case entry(RecoveredEntry)
  case hardState(LogHardState)
  case snapshot(SnapshotMark)
}

/// What a log held when it was opened.
package struct RecoveredLog: Sendable {
  package var metadata: LogMetadata
  /// Nil if none was ever written.
  package var hardState: LogHardState?
  /// The last snapshot mark; nil if none was ever written.
  package var snapshot: SnapshotMark?
  /// The entries after the mark, in order without gaps. Empty if they were streamed.
  package var entries: [RecoveredEntry]
  /// The index of the last entry, or the mark's if no entry follows it, or 0.
  package var lastIndex: LogIndex
  /// Whether the log was made by this opening.
  package var isNew: Bool
}

/// What the reader of a streamed recovery does to the entries it has, in this order.
package enum RecoveryEvent: Sendable {
  /// Add the entry at the end. Its index is one more than the last one's.
  case append(RecoveredEntry)
  /// Remove the entries with this index and later ones.
  case removeFrom(LogIndex)
  /// Remove the entries up to and including this index.
  case removeThrough(LogIndex)
}

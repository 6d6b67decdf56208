package import Base
package import Log
package import MVCC
package import Proto
package import Raft
package import Storage

/// Work that a replica has for its owner after a turn. The owner carries it out in the order of
/// the fields and reports back through the replica's inputs.
package struct ReplicaOutput {
  /// One unit for the log, to be written in order.
  package struct Write: Sendable {
    package var batch: LogBatch
    /// Whether the batch must be on the disk before `persisted(through:)` names its sequence.
    package var mustSync: Bool
    package var sequence: UInt64
  }

  /// A closed memtable for the flusher, and how far in the log it goes.
  package struct Flush: Sendable {
    package var job: FlushJob
    package var mark: LogMark
  }

  package var writes: [Write] = []

  /// Messages to peers that may leave now.
  package var messages: [Raft.Message] = []

  /// The events of what was applied, for those who watch, in order.
  package var events: [EventBlock] = []

  /// Read requests that may be served now: everything up to their index is applied.
  package var readyReads: [UInt64] = []

  /// Read requests that will not be answered.
  package var lostReads: [UInt64] = []

  /// By event loop: of the proposals up to this block, those without an answer are not done and
  /// never will be. The answers of the same turn come before this.
  package var proposalsNotDone: [ProposalBlockName] = []

  /// By event loop: what became of the proposals up to this block that have no answer, nobody here
  /// will know.
  package var proposalsUnknown: [ProposalBlockName] = []

  package var flush: Flush?

  /// The log may forget everything at or below this mark, which the store now holds durably.
  package var release: LogMark?

  /// A snapshot took the place of everything; it goes this far. Whoever watches must look into the
  /// history from where it was, since the events in between are not in `events`.
  package var installed: LogMark?

  /// A snapshot could not be installed. The member must stop, and start from its disk.
  package var failure: StorageError?

  /// Whether a compaction was applied and the background work has something to remove.
  package var hasCompaction = false

  /// The alarm CORRUPT was raised for this member, or for all.
  package var corruption: Corruption?

  package init() {}
}

extension ReplicaOutput {
  /// An alarm CORRUPT that is about this member.
  package struct Corruption: Sendable {
    /// Whom it names: this member, or `.none` for all.
    package var member: MemberID
    /// The entry that raised it.
    package var entry: LogIndex
    /// What was compared; nil when somebody raised the alarm by hand.
    package var report: Etcdserverpb.CorruptionReport?
  }
}

/// A place in the log that snapshots and releases name.
package struct LogMark: Sendable {
  package var index: LogIndex
  package var term: Term
  package var confState: ConfState

  package init(index: LogIndex, term: Term, confState: ConfState) {
    self.index = index
    self.term = term
    self.confState = confState
  }
}

/// What the outside may know of a replica at one moment.
package struct ReplicaStatus: Sendable, Equatable {
  package var leader = MemberID.none
  package var role = Role.follower
  package var term = Term.zero
  package var lastIndex = LogIndex.zero
  package var committed = LogIndex.zero
  package var applied = LogIndex.zero
  package var proposalsFailed: UInt64 = 0
  package var leaderChanges: UInt64 = 0

  /// Whether this member leads and is the only voter, and has committed an entry of its term.
  ///
  /// Then every acknowledged write was applied here before its acknowledgement, nobody else can
  /// acknowledge any, and so a read of the published state is linearizable without a round.
  package var readsAreLocal = false

  /// Whether this member gets entries and does not count.
  package var isLearner = false

  /// Whether this member's data was found to differ from the others': it must not be read here. A
  /// member that is alone has nobody whom to read from instead.
  package var isCorrupt = false

  package init() {}
}

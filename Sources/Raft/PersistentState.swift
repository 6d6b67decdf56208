package import Base

/// What a member must remember beside its log.
package struct HardState: Sendable, Hashable {
  /// The latest term the member has seen.
  package var term: Term

  /// Whom it voted for in that term; `.none` for nobody yet.
  package var vote: MemberID

  /// The highest index it knows to be committed.
  package var commit: LogIndex

  package init(term: Term = .zero, vote: MemberID = .none, commit: LogIndex = .zero) {
    self.term = term
    self.vote = vote
    self.commit = commit
  }
}

/// A membership. Each list is in ascending order and holds nobody twice.
package struct ConfState: Sendable, Hashable {
  package var voters: [MemberID]
  package var learners: [MemberID]

  /// The voters of the configuration being left; not empty means the configuration is joint.
  package var votersOutgoing: [MemberID]

  /// Members that are outgoing voters now and become learners when the joint configuration ends.
  package var learnersNext: [MemberID]

  /// Whether the leader ends the joint configuration by itself.
  package var autoLeave: Bool

  package init(
    voters: [MemberID] = [],
    learners: [MemberID] = [],
    votersOutgoing: [MemberID] = [],
    learnersNext: [MemberID] = [],
    autoLeave: Bool = false
  ) {
    self.voters = voters
    self.learners = learners
    self.votersOutgoing = votersOutgoing
    self.learnersNext = learnersNext
    self.autoLeave = autoLeave
  }
}

/// What a node starts from: all that is durable.
package struct RestoredState: Sendable {
  /// The last hard state that was written.
  package var hardState: HardState

  /// The membership as of `applied`. When nothing is applied, that of the log's beginning: a member
  /// that joins later and gets the log from there has to know it, or gets a snapshot instead.
  package var confState: ConfState

  /// The last entry that the log no longer holds: the one before `entries`. Zero for a log that
  /// was never compacted.
  package var snapshotIndex: LogIndex
  package var snapshotTerm: Term

  /// The log after `snapshotIndex`, without gaps.
  package var entries: [Entry]

  /// The last entry whose effects the state machine holds durably.
  package var applied: LogIndex

  /// Whether this member joins a cluster whose beginning it does not know: it refuses the log from
  /// its first entry on, which makes the leader send a snapshot.
  package var awaitsSnapshot = false

  package init(
    hardState: HardState = HardState(),
    confState: ConfState = ConfState(),
    snapshotIndex: LogIndex = .zero,
    snapshotTerm: Term = .zero,
    entries: [Entry] = [],
    applied: LogIndex = .zero
  ) {
    self.hardState = hardState
    self.confState = confState
    self.snapshotIndex = snapshotIndex
    self.snapshotTerm = snapshotTerm
    self.entries = entries
    self.applied = applied
  }
}

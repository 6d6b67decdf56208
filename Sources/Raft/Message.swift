package import Base

/// What one member says to another.
///
/// One struct for all kinds, as in raftpb; the comment of a kind says which fields it uses.
/// `from`, `to` and `term` (the sender's) are used by all, with `term` 0 in `propose`.
package struct Message: Sendable {
  /// Raw values are those of raftpb.MessageType.
  package enum Kind: UInt8, Sendable, Hashable {
    /// Entries that came to a member that does not lead: `entries`, of which only payloads count.
    /// With a `logTerm` it is between replicas, and Raft never sees it: for the leader of that term
    /// only, with a number in `context`; or, with `reject`, the answer that they are in no log, with
    /// the reason in `index`.
    case propose = 2
    /// A leader's entries after (`index`, `logTerm`), and its `commit`.
    case app = 3
    /// The answer: the log matches the leader's through `index`. Or `reject`: it does not at
    /// `index`, and (`rejectHint`, `logTerm`) is the next place worth trying.
    case appResp = 4
    /// A candidate asks for a vote; its log ends with (`index`, `logTerm`). `context` may be
    /// `contextTransfer`.
    case vote = 5
    /// The answer, granted unless `reject`. The voter knows (`commit`, `logTerm`) to be committed.
    case voteResp = 6
    /// A snapshot, described by `snapshot`; the transport streams the data itself beside it.
    case snapshot = 7
    /// A leader's sign of life with the `commit` that is safe for the receiver; `context` is the
    /// read round.
    case heartbeat = 8
    /// The answer, with the `context` repeated.
    case heartbeatResp = 9
    /// A member that does not lead asks for a transfer to the member that `context` names.
    case transferLeader = 13
    /// The leader tells the receiver to campaign at once.
    case timeoutNow = 14
    /// A member that does not lead asks for a read index; `context` tells its requests apart.
    case readIndex = 15
    /// The answer: `index`, for the same `context`.
    case readIndexResp = 16
    /// Asks whether a vote would be granted in `term`, which nobody has entered yet.
    case preVote = 17
    /// The answer, like that to a vote. When granted, `term` is that of the question.
    case preVoteResp = 18
  }

  package var kind: Kind
  package var from: MemberID
  package var to: MemberID
  package var term: Term
  package var logTerm: Term = .zero
  package var index: LogIndex = .zero
  package var entries: [Entry] = []
  package var commit: LogIndex = .zero
  package var reject: Bool = false
  package var rejectHint: LogIndex = .zero
  package var context: UInt64 = 0
  package var snapshot: SnapshotMetadata?

  package init(_ kind: Kind, from: MemberID, to: MemberID, term: Term) {
    self.kind = kind
    self.from = from
    self.to = to
    self.term = term
  }

  /// The `context` of a vote request that a leadership transfer caused: it is answered although
  /// the receiver still hears the leader.
  package static let contextTransfer: UInt64 = 1

  /// Indexes and terms above this come from no working member; such messages are refused, so that
  /// arithmetic on them cannot overflow.
  package static let numberMax = UInt64(1) << 62
}

/// Where in the log a snapshot stands, and the membership there.
package struct SnapshotMetadata: Sendable, Hashable {
  /// The last entry that the snapshot holds.
  package var index: LogIndex

  /// That entry's term.
  package var term: Term

  /// The membership once that entry was applied.
  package var confState: ConfState

  package init(index: LogIndex, term: Term, confState: ConfState) {
    self.index = index
    self.term = term
    self.confState = confState
  }
}

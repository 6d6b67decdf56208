package import Base

/// One member's part in the consensus: a value that takes messages, ticks and proposals, and gives
/// back a `Ready` that says what to write, send and apply.
///
/// It is complete in the sense of Ongaro's dissertation: elections with pre-vote and leader leases
/// (6.2, 9.6), log compaction (5), membership changes with learners and joint consensus (4),
/// leadership transfer (3.10), read indexes (6.4), and pipelined, batched replication (10.2).
///
/// It does no I/O and owns no clock, thread or source of randomness. One owner calls it, one call at
/// a time; the same calls after the same seed give the same results. After any calls the owner looks
/// at `hasReady` and does what `ready()` returns. It need not wait for the disk before it goes on:
/// steps, ticks and further Readys may come while writes are under way, as long as the writes keep
/// their order (see `Ready` for the rules).
///
/// Nothing that a peer sends crashes the node or makes it keep more than its limits; `step` throws
/// or ignores what cannot be. A call that breaks the owner's own rules traps.
///
/// It has one owner, so it is not copyable: a copy would be a second member of the same name. That
/// also has a class that owns one read its properties in place, which matters in every turn.
package struct RaftNode: ~Copyable, Sendable {
  package let configuration: RaftConfiguration
  package let id: MemberID

  // What Figure 2 of the paper keeps on stable storage, and what is volatile on all members.
  package internal(set) var term: Term
  package internal(set) var vote: MemberID
  package internal(set) var role: Role = .follower
  /// The leader of `term` as far as known; `.none` otherwise.
  package internal(set) var leader: MemberID = .none
  var log: RaftLog
  var peers: Peers

  // Time, in ticks.
  var random: SplitMix64
  var tickCount: UInt64 = 0
  var electionElapsed = 0
  var heartbeatElapsed = 0
  var electionTimeout = 0

  // A candidate's.
  var votes: [(voter: MemberID, granted: Bool)] = []
  var ownVote = OwnVote.none
  /// The leader asked this member to take over while it could not, and it still may.
  var takeoverDue = false
  /// Whether the owner lets this member campaign and take over: not while its disk hangs. A vote
  /// for itself could not become durable, and a term that nobody can win disturbs the others.
  package var mayLead = true

  // A leader's.
  var transferee: MemberID = .none
  /// The last entry of the log that changes the membership and may not be applied yet.
  var pendingConfiguration: LogIndex = .zero
  /// A leader that is no voter any more leads until this entry is committed; zero otherwise.
  var retirement: LogIndex = .zero
  /// The weight of the entries that are not committed.
  package internal(set) var uncommittedBytes = 0
  /// Whether something happened that peers must hear of: entries, a commit index, a question.
  var appendsDue = false
  var rounds = ReadRounds()

  // A follower's.
  var forwarded: ForwardedReads

  // Snapshots.
  /// A peer waits for one, and there is none that fits the log.
  var isSnapshotMissing = false
  /// The newest snapshot that the owner can send to a peer.
  var snapshot: SnapshotMetadata?
  /// A snapshot for the next Ready.
  var snapshotToInstall: SnapshotMetadata?
  /// The snapshot whose installation has not been reported.
  var installing: SnapshotMetadata?
  /// See `RestoredState.awaitsSnapshot`.
  package internal(set) var awaitsSnapshot: Bool

  // For the next Ready.
  var messages: [Message] = []
  var messagesAfterPersist: [Message] = []
  var readStates: [ReadState] = []
  var readsLost: [UInt64] = []
  var sequence: UInt64 = 0
  var handedHardState: HardState
  var handedSoftState = SoftState(leader: .none, role: .follower)

  /// Where a candidate's vote for itself stands. It counts only when it is durable.
  enum OwnVote: Sendable, Hashable {
    case none
    case cast
    /// Under way to the disk in the Ready of this number.
    case handedOut(UInt64)
  }

  /// A follower that starts from what was durable. `seed` decides the election timeouts; it must
  /// differ among members and from start to start.
  package init(
    configuration: RaftConfiguration,
    restored: RestoredState,
    seed: UInt64
  ) throws(RestoreError) {
    do { try configuration.check() } catch { throw .configuration(error) }
    try Self.check(restored)
    self.configuration = configuration
    id = configuration.id
    random = SplitMix64(seed: seed)
    forwarded = ForwardedReads(firstID: random.next())
    // What is applied or compacted was committed, though the last hard state may not say so.
    let committed = max(restored.hardState.commit, restored.applied, restored.snapshotIndex)
    log = RaftLog(
      offset: restored.snapshotIndex,
      offsetTerm: restored.snapshotTerm,
      entries: restored.entries,
      committed: committed,
      applied: restored.applied
    )
    term = restored.hardState.term
    vote = restored.hardState.vote
    awaitsSnapshot = restored.awaitsSnapshot
    handedHardState = restored.hardState
    peers = Peers(restored.confState, next: log.lastIndex + 1)
    if let appliedTerm = log.term(at: restored.applied), restored.applied > .zero {
      snapshot = SnapshotMetadata(
        index: restored.applied,
        term: appliedTerm,
        confState: restored.confState
      )
    }
    drawElectionTimeout()
  }

  private static func check(_ restored: RestoredState) throws(RestoreError) {
    if !ConfChanger.isValid(restored.confState) { throw .membership }
    var index = restored.snapshotIndex.rawValue
    var term = restored.snapshotTerm
    if index > Message.numberMax || term.rawValue > Message.numberMax { throw .entries }
    for entry in restored.entries {
      index += 1
      if entry.index.rawValue != index || entry.term < term { throw .entries }
      term = entry.term
    }
    if term > restored.hardState.term || restored.hardState.term.rawValue > Message.numberMax {
      throw .entries
    }
    if restored.hardState.commit.rawValue > index { throw .commit }
    if restored.awaitsSnapshot, index > 0 || !restored.confState.voters.isEmpty {
      throw .membership
    }
    if restored.applied < restored.snapshotIndex || restored.applied.rawValue > index {
      throw .applied
    }
  }
}

// Changes of role
extension RaftNode {
  mutating func drawElectionTimeout() {
    electionTimeout =
      configuration.electionTimeoutTicks
      + Int.random(in: 0..<configuration.electionTimeoutTicks, using: &random)
  }

  /// Enters `term`, or starts anew in it, without a leader and with nothing known of peers.
  mutating func reset(term new: Term) {
    if new != term {
      term = new
      vote = .none
    }
    leader = .none
    electionElapsed = 0
    heartbeatElapsed = 0
    drawElectionTimeout()
    votes.removeAll()
    ownVote = .none
    takeoverDue = false
    transferee = .none
    pendingConfiguration = .zero
    retirement = .zero
    uncommittedBytes = 0
    appendsDue = false
    loseReads()
    for position in peers.ids.indices {
      let isSelf = peers.ids[position] == id
      var progress = Progress(
        match: isSelf ? log.durable : .zero,
        next: log.lastIndex + 1,
        isLearner: peers.progress[position].isLearner
      )
      progress.isRecentlyActive = isSelf
      peers.progress[position] = progress
    }
  }

  mutating func becomeFollower(term: Term, leader: MemberID) {
    reset(term: term)
    role = .follower
    self.leader = leader
  }

  /// Stops leading or campaigning, without a new term: for an owner whose disk does not answer. The
  /// others elect a new leader once they miss the heartbeats. Does nothing to a follower.
  package mutating func stepDown() {
    if role != .follower { becomeFollower(term: term, leader: .none) }
  }
}

// Time
extension RaftNode {
  /// One unit of time has passed.
  package mutating func tick() {
    tickCount += 1
    if role == .leader { tickLeader() } else { tickFollower() }
  }

  private mutating func tickFollower() {
    electionElapsed += 1
    expireReads()
    if electionElapsed >= electionTimeout, isPromotable {
      electionElapsed = 0
      campaign()
    }
  }

  private mutating func tickLeader() {
    electionElapsed += 1
    heartbeatElapsed += 1
    if electionElapsed >= configuration.electionTimeoutTicks {
      electionElapsed = 0
      // A transfer that takes longer than an election is given up.
      transferee = .none
      if configuration.checkQuorum, !checkQuorum() { return }
    }
    if heartbeatElapsed >= configuration.heartbeatTimeoutTicks { broadcastHeartbeat() }
  }

  /// Steps down unless a quorum was heard since the last check; returns whether it still leads.
  private mutating func checkQuorum() -> Bool {
    guard peers.isQuorumActive() else {
      becomeFollower(term: term, leader: .none)
      return false
    }
    for position in peers.ids.indices {
      peers.progress[position].isRecentlyActive = peers.ids[position] == id
    }
    return true
  }
}

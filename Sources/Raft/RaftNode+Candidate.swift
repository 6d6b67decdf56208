import Base

extension RaftNode {
  /// Whether this member can lead: a voter whose state is its own and not a snapshot half installed.
  var isPromotable: Bool { installing == nil && peers.isVoter(id) }

  /// Whether it may try to now. One that knows of a committed change of the membership applies it
  /// first; otherwise it might be elected by a majority that is none any more.
  var mayCampaign: Bool {
    mayLead && isPromotable && term.rawValue < Message.numberMax
      && log.lastConfiguration(after: log.applied, through: log.committed) == nil
  }

  /// Starts an election without waiting for the timeout, or a pre-vote where that is configured.
  ///
  /// A sole voter leads as soon as its vote for itself is durable. Does nothing at a leader, at a
  /// member that is no voter, while a snapshot is being installed, and while a committed change of
  /// the membership waits to be applied.
  package mutating func campaign() {
    guard role != .leader, mayCampaign else { return }
    if configuration.preVote { preCampaign() } else { campaign(transfer: false) }
  }

  private mutating func preCampaign() {
    // Neither term nor vote changes: a pre-vote that fails has harmed nobody.
    reset(term: term)
    role = .preCandidate
    requestVotes(.preVote, term: term.next, transfer: false)
    record(id, granted: true)
  }

  /// Stands for election in the next term.
  mutating func campaign(transfer: Bool) {
    reset(term: term.next)
    role = .candidate
    vote = id
    ownVote = .cast
    requestVotes(.vote, term: term, transfer: transfer)
  }

  private mutating func requestVotes(_ kind: Message.Kind, term: Term, transfer: Bool) {
    for (peer, progress) in zip(peers.ids, peers.progress) where peer != id && !progress.isLearner {
      var message = Message(kind, from: id, to: peer, term: term)
      message.index = log.lastIndex
      message.logTerm = log.lastTerm
      message.context = transfer ? Message.contextTransfer : 0
      if kind == .vote {
        // Voters judge by the log's end, which must not be lost after they did.
        messagesAfterPersist.append(message)
      } else {
        messages.append(message)
      }
    }
  }

  /// A candidate, or one that wonders whether to be, asks for this member's vote.
  mutating func stepVote(_ message: borrowing Message) {
    let isPreVote = message.kind == .preVote
    let isFree =
      vote == message.from || (vote == .none && leader == .none)
      || (isPreVote && message.term > term)
    let isGranted = isFree && log.isUpToDate(index: message.index, term: message.logTerm)
    // A granted pre-vote is for the term asked about, which this member does not enter.
    var answer = Message(
      isPreVote ? .preVoteResp : .voteResp,
      from: id,
      to: message.from,
      term: isGranted ? message.term : term
    )
    answer.reject = !isGranted
    // A voter that was removed may be the only one left who knows that its removal is committed.
    answer.commit = log.committed
    answer.logTerm = log.term(at: log.committed) ?? .zero
    messagesAfterPersist.append(answer)
    if isGranted, !isPreVote {
      electionElapsed = 0
      vote = message.from
    }
  }

  mutating func stepVoteResponse(_ message: borrowing Message) {
    switch (role, message.kind) {
    case (.candidate, .voteResp):
      guard message.term == term else { return }
    case (.preCandidate, .preVoteResp):
      guard message.reject || message.term == term.next else { return }
    default:
      return
    }
    if message.commit > log.committed, log.term(at: message.commit) == message.logTerm {
      log.commit(through: message.commit)
    }
    record(message.from, granted: !message.reject)
  }

  /// Notes a vote, the first of each voter, and acts when it decides.
  mutating func record(_ voter: MemberID, granted: Bool) {
    guard peers.isVoter(voter), !votes.contains(where: { $0.voter == voter }) else { return }
    votes.append((voter, granted))
    let votes = votes
    switch peers.quorum.result({ id in votes.first { $0.voter == id }?.granted }) {
    case .pending:
      break
    case .lost:
      becomeFollower(term: term, leader: .none)
    case .won:
      if role == .preCandidate { campaign(transfer: false) } else { becomeLeader() }
    }
  }
}

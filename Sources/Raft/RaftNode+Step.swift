import Base

extension RaftNode {
  /// Takes a message from a peer. Any error leaves the node as sound as before.
  package mutating func step(_ message: consuming Message) throws(RaftError) {
    try check(message)
    if message.kind == .propose {
      stepPropose(message)
      return
    }
    if message.term < term {
      refuseOldTerm(message)
      return
    }
    if message.term > term {
      if isDisturbing(message) { return }
      enterTerm(of: message)
    }
    switch message.kind {
    case .vote, .preVote: stepVote(message)
    case .voteResp, .preVoteResp: stepVoteResponse(message)
    case .app, .heartbeat, .snapshot: try stepFromLeader(message)
    case .appResp: try stepAppendResponse(message)
    case .heartbeatResp: stepHeartbeatResponse(message)
    case .timeoutNow: stepTimeoutNow(message)
    case .transferLeader: stepTransferLeader(message)
    case .readIndex: stepReadIndex(message)
    case .readIndexResp: stepReadIndexResponse(message)
    case .propose: break
    }
  }

  /// Refuses what no working member sends to this one.
  private func check(_ message: borrowing Message) throws(RaftError) {
    if message.to != id || message.from == id || message.from == .none { throw .misdirected }
    let number = max(
      message.term.rawValue,
      message.logTerm.rawValue,
      message.index.rawValue,
      message.commit.rawValue,
      message.rejectHint.rawValue
    )
    if number > Message.numberMax { throw .outOfRange }
    if message.kind == .propose {
      if message.term != .zero { throw .malformed }
      return
    }
    if message.term == .zero { throw .malformed }
    if message.kind == .snapshot {
      guard let snapshot = message.snapshot, snapshot.index > .zero, snapshot.term > .zero,
        snapshot.term <= message.term, ConfChanger.isValid(snapshot.confState)
      else { throw .malformed }
      if snapshot.index.rawValue > Message.numberMax { throw .outOfRange }
    }
    guard message.kind == .app else { return }
    var term = message.logTerm
    var index = message.index
    for entry in message.entries {
      if entry.index != index + 1 || entry.term < term { throw .malformed }
      index = entry.index
      term = entry.term
    }
    if term > message.term { throw .malformed }
  }

  /// Tells a sender that is behind which term it is.
  private mutating func refuseOldTerm(_ message: borrowing Message) {
    var answer: Message
    switch message.kind {
    case .app, .heartbeat, .snapshot:
      // Its term alone makes an old leader step down; index 0 acknowledges nothing.
      answer = Message(.appResp, from: id, to: message.from, term: term)
    case .vote:
      answer = Message(.voteResp, from: id, to: message.from, term: term)
      answer.reject = true
    case .preVote:
      answer = Message(.preVoteResp, from: id, to: message.from, term: term)
      answer.reject = true
    default:
      return
    }
    messagesAfterPersist.append(answer)
  }

  /// Whether this is a candidate while a leader is being heard: a member that was cut off or
  /// removed. A transfer of leadership is no disturbance.
  private func isDisturbing(_ message: borrowing Message) -> Bool {
    guard message.kind == .vote || message.kind == .preVote else { return false }
    return configuration.checkQuorum && leader != .none
      && electionElapsed < configuration.electionTimeoutTicks
      && message.context != Message.contextTransfer
  }

  private mutating func enterTerm(of message: borrowing Message) {
    switch message.kind {
    case .preVote:
      // Nobody is in that term yet.
      break
    case .preVoteResp where !message.reject:
      // The term is that of our own question.
      break
    case .app, .heartbeat, .snapshot:
      becomeFollower(term: message.term, leader: message.from)
    default:
      becomeFollower(term: message.term, leader: .none)
    }
  }

  /// Appends, heartbeats and snapshots come from the one leader of a term.
  private mutating func stepFromLeader(_ message: borrowing Message) throws(RaftError) {
    if role == .leader || (leader != .none && leader != message.from) { throw .secondLeader }
    if role != .follower || leader == .none {
      becomeFollower(term: term, leader: message.from)
    }
    electionElapsed = 0
    switch message.kind {
    case .app: try stepAppend(message)
    case .heartbeat: try stepHeartbeat(message)
    default: stepSnapshot(message)
    }
  }
}

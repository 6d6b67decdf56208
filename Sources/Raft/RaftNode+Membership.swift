import Base

extension RaftNode {
  /// Takes a change of the membership into force; to be called when its entry is applied, before
  /// `applied(through:)`. An owner that refuses the change does not call it.
  ///
  /// Returns the membership in force, which goes into the state machine with the entry. A change that
  /// cannot be made changes nothing, on every member alike.
  @discardableResult
  package mutating func applyConfChange(_ change: ConfChange) -> ConfState {
    guard let state = try? ConfChanger.apply(change, to: peers.confState) else {
      return peers.confState
    }
    peers.update(state, next: log.lastIndex + 1)
    switch role {
    case .leader:
      adjustLeader()
    case .candidate, .preCandidate:
      if !isPromotable { becomeFollower(term: term, leader: .none) }
    case .follower:
      break
    }
    return state
  }

  private mutating func adjustLeader() {
    if transferee != .none, !peers.isVoter(transferee) { transferee = .none }
    appendsDue = true
    if !peers.isVoter(id), retirement == .zero {
      // Since a membership is in force only where it is applied, the remaining voters must know that
      // the change is committed before this member goes; a quorum that stored one more entry does.
      transferee = .none
      append(.empty)
      retirement = log.lastIndex
    }
    // A smaller quorum may have what a larger one had not.
    advanceCommit()
    answerReads()
  }

  /// Ends the leadership of a member that is no voter any more (dissertation, 4.2.2): what is
  /// committed is made known, and the voter that is furthest is asked to take over.
  mutating func retire() {
    sendAppends()
    var heir: (id: MemberID, match: LogIndex)?
    for (peer, progress) in zip(peers.ids, peers.progress)
    where peer != id && !progress.isLearner {
      if heir.map({ progress.match > $0.match }) ?? true { heir = (peer, progress.match) }
    }
    if let heir { sendTimeoutNow(to: heir.id) }
    becomeFollower(term: term, leader: .none)
  }
}

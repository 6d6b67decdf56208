import Base

/// The membership in force and a progress for each member, this one included, in the order of
/// their IDs.
struct Peers: Sendable {
  private(set) var confState: ConfState
  private(set) var quorum: JointQuorum
  private(set) var ids: [MemberID] = []
  /// The position of the only voter, if there is only one.
  private(set) var soleVoter: Int?
  var progress: [Progress] = []

  init(_ confState: ConfState, next: LogIndex) {
    self.confState = confState
    quorum = JointQuorum(confState)
    update(confState, next: next)
  }

  /// Takes another membership into force. Members that stay keep their progress; new ones start to
  /// be probed at `next`.
  mutating func update(_ confState: ConfState, next: LogIndex) {
    let all = Set(confState.voters).union(confState.votersOutgoing).union(confState.learners)
    let newIDs = all.sorted()
    var newProgress: [Progress] = []
    newProgress.reserveCapacity(newIDs.count)
    for id in newIDs {
      let isLearner = confState.learners.contains(id)
      if let position = position(of: id) {
        var kept = progress[position]
        kept.isLearner = isLearner
        newProgress.append(kept)
      } else {
        var fresh = Progress(next: next, isLearner: isLearner)
        // Otherwise the next check would count a member against the quorum that had no time to
        // answer.
        fresh.isRecentlyActive = true
        newProgress.append(fresh)
      }
    }
    self.confState = confState
    quorum = JointQuorum(confState)
    ids = newIDs
    progress = newProgress
    soleVoter = nil
    if confState.voters.count == 1, confState.votersOutgoing.isEmpty {
      soleVoter = position(of: confState.voters[0])
    }
  }

  func position(of id: MemberID) -> Int? {
    var low = 0
    var high = ids.count
    while low < high {
      let middle = (low + high) / 2
      if ids[middle] < id { low = middle + 1 } else { high = middle }
    }
    return low < ids.count && ids[low] == id ? low : nil
  }

  func isVoter(_ id: MemberID) -> Bool {
    guard let position = position(of: id) else { return false }
    return !progress[position].isLearner
  }

  /// The highest index that a quorum holds durably.
  func quorumMatch() -> LogIndex {
    if let soleVoter { return progress[soleVoter].match }
    return jointMatch()
  }

  @inline(never)
  private func jointMatch() -> LogIndex {
    LogIndex(
      quorum.agreed { id in position(of: id).map { progress[$0].match.rawValue } ?? 0 }
    )
  }

  /// The highest read round that a quorum has answered.
  func quorumReadRound() -> UInt64 {
    quorum.agreed { id in position(of: id).map { progress[$0].readRound } ?? 0 }
  }

  /// Whether a quorum was heard since the last check.
  func isQuorumActive() -> Bool {
    quorum.result { id in position(of: id).map { progress[$0].isRecentlyActive } ?? false } == .won
  }
}

package import Base

// What `--strict-reconfig-check` asks before a change is proposed: would a quorum of the new
// voters have started? A voter counts as started once it has published its name. Whether it is
// reachable right now is the caller's to know.
extension MemberTable {
  /// Whether one more voter, not started yet, leaves a quorum of started ones.
  ///
  /// A cluster of one may always grow: it is healthy, and there is no other way up.
  package var allowsAddingVoter: Bool {
    let started = startedVoterCount(except: nil)
    let voterCount = voters.count + 1
    if started == 1 && voterCount == 2 { return true }
    return started >= voterCount / 2 + 1
  }

  /// Whether `learner`, once a voter, leaves a quorum of started ones.
  package func allowsPromoting(_ learner: MemberID) -> Bool {
    let isStarted = self[learner]?.isStarted ?? false
    let started = startedVoterCount(except: nil) + (isStarted ? 1 : 0)
    return started >= (voters.count + 1) / 2 + 1
  }

  /// Whether the voters that stay without `id` keep a quorum of started ones; never true for the
  /// last voter. A learner may always go.
  package func allowsRemoving(_ id: MemberID) -> Bool {
    if let member = self[id], member.isLearner { return true }
    let staying = voters.filter { $0.id != id }.count
    return startedVoterCount(except: id) >= staying / 2 + 1
  }

  private func startedVoterCount(except id: MemberID?) -> Int {
    members.filter { !$0.isLearner && $0.isStarted && $0.id != id }.count
  }
}

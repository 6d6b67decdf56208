package import Base

/// A transfer of leadership under way, of which somebody wants to know how it ends.
package struct LeadershipTransfer {
  package enum Outcome: Sendable {
    case done
    case notLeader
    case failed
  }

  private let target: MemberID
  private let patienceNanoseconds: UInt64
  /// Since when there has been no leader, by the replica's clock; nil while there is one.
  private var leaderlessSince: UInt64?

  /// For a transfer that `ReplicaMachine.transferLeadership` has begun. Its target may be lost on the way
  /// when this member has stepped down for it already: it has failed when nobody leads for
  /// `patienceNanoseconds`.
  package init(to target: MemberID, patienceNanoseconds: UInt64) {
    self.target = target
    self.patienceNanoseconds = patienceNanoseconds
  }

  /// How it ended; nil while it has not. To be called after each turn.
  package mutating func outcome(_ machine: ReplicaMachine) -> Outcome? {
    let leader = machine.status.leader
    if leader == target { return .done }
    guard leader == .none else {
      leaderlessSince = nil
      // Otherwise given up, or somebody else was quicker.
      return machine.transferee == target ? nil : .failed
    }
    let since = leaderlessSince ?? machine.now
    leaderlessSince = since
    return machine.now > since + patienceNanoseconds ? .failed : nil
  }
}

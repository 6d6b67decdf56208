package import Base

/// How a vote stands.
package enum VoteResult: Sendable, Hashable {
  /// Undecided: answers are missing that can turn it either way.
  case pending
  case lost
  case won
}

/// A set of voters of whom more than half decide. The empty set agrees to everything, so that half
/// of a joint quorum may be empty.
package struct MajorityQuorum: Sendable, Hashable {
  package let voters: [MemberID]

  package init(_ voters: [MemberID]) {
    self.voters = voters
  }

  /// The highest value that more than half of the voters have reached; `UInt64.max` without voters.
  package func agreed(_ reached: (MemberID) -> UInt64) -> UInt64 {
    if voters.isEmpty { return .max }
    if voters.count == 1 { return reached(voters[0]) }
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: voters.count) { sorted in
      // An insertion sort, highest first; a cluster has few voters.
      for count in 0..<voters.count {
        let value = reached(voters[count])
        var hole = count
        while hole > 0, sorted[hole - 1] < value {
          sorted[hole] = sorted[hole - 1]
          hole -= 1
        }
        sorted[hole] = value
      }
      return sorted[voters.count / 2]
    }
  }

  /// How the vote stands when each voter has said yes (true), no (false) or nothing (nil).
  package func result(_ vote: (MemberID) -> Bool?) -> VoteResult {
    if voters.isEmpty { return .won }
    var yes = 0
    var missing = 0
    for voter in voters {
      switch vote(voter) {
      case true?: yes += 1
      case false?: break
      case nil: missing += 1
      }
    }
    let needed = voters.count / 2 + 1
    if yes >= needed { return .won }
    return yes + missing >= needed ? .pending : .lost
  }
}

/// The quorum of a membership: a majority of its voters and, while it is joint, a majority of the
/// outgoing ones too.
package struct JointQuorum: Sendable, Hashable {
  package let incoming: MajorityQuorum
  package let outgoing: MajorityQuorum

  package init(_ confState: ConfState) {
    incoming = MajorityQuorum(confState.voters)
    outgoing = MajorityQuorum(confState.votersOutgoing)
  }

  /// The highest value that both majorities have reached.
  package func agreed(_ reached: (MemberID) -> UInt64) -> UInt64 {
    let first = incoming.agreed(reached)
    return outgoing.voters.isEmpty ? first : min(first, outgoing.agreed(reached))
  }

  /// Won when both are; lost when one is.
  package func result(_ vote: (MemberID) -> Bool?) -> VoteResult {
    switch (incoming.result(vote), outgoing.result(vote)) {
    case (.won, .won): .won
    case (.lost, _), (_, .lost): .lost
    default: .pending
    }
  }
}

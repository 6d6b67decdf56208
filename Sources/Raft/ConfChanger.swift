import Base

/// The arithmetic of membership changes.
package enum ConfChanger {
  /// Why a change cannot be made.
  package enum Failure: Error, Hashable {
    /// The configuration is joint, and the change is not the one that leaves it.
    case isJoint
    /// The configuration is not joint, and the change would leave one.
    case notJoint
    /// No voter would be left.
    case noVoter
    /// More than `ConfChange.changesMax` members are named.
    case tooMany
  }

  /// The membership after `change`.
  package static func apply(
    _ change: ConfChange,
    to state: ConfState
  ) throws(Failure) -> ConfState {
    let isJoint = !state.votersOutgoing.isEmpty
    if change.changes.count > ConfChange.changesMax { throw .tooMany }
    if change.leavesJoint {
      guard isJoint else { throw .notJoint }
      return leave(state)
    }
    if isJoint { throw .isJoint }
    var result = state
    if change.entersJoint {
      if state.voters.isEmpty { throw .noVoter }
      result.votersOutgoing = state.voters
      result.autoLeave = change.transition != .jointExplicit
    }
    for single in change.changes where single.member != .none { make(single, in: &result) }
    if result.voters.isEmpty { throw .noVoter }
    return result
  }

  private static func leave(_ state: ConfState) -> ConfState {
    var result = state
    for member in state.learnersNext { insert(member, into: &result.learners) }
    result.learnersNext = []
    result.votersOutgoing = []
    result.autoLeave = false
    return result
  }

  private static func make(_ change: ConfChange.Change, in state: inout ConfState) {
    let member = change.member
    switch change.kind {
    case .updateNode:
      break
    case .addVoter:
      remove(member, from: &state.learners)
      remove(member, from: &state.learnersNext)
      insert(member, into: &state.voters)
    case .addLearner:
      remove(member, from: &state.voters)
      // A member never counts as learner and voter at once: an outgoing voter waits.
      if state.votersOutgoing.contains(member) {
        insert(member, into: &state.learnersNext)
      } else {
        insert(member, into: &state.learners)
      }
    case .removeNode:
      remove(member, from: &state.voters)
      remove(member, from: &state.learners)
      remove(member, from: &state.learnersNext)
    }
  }

  private static func insert(_ member: MemberID, into list: inout [MemberID]) {
    let position = list.firstIndex { $0 >= member } ?? list.count
    if position < list.count, list[position] == member { return }
    list.insert(member, at: position)
  }

  private static func remove(_ member: MemberID, from list: inout [MemberID]) {
    list.removeAll { $0 == member }
  }

  /// Whether a membership can have come from `apply`: sorted lists, nobody twice, and joint
  /// throughout or not at all.
  package static func isValid(_ state: ConfState) -> Bool {
    for list in [state.voters, state.learners, state.votersOutgoing, state.learnersNext] {
      if list.first == MemberID.none { return false }
      for (left, right) in zip(list, list.dropFirst()) where left >= right { return false }
    }
    let learners = Set(state.learners)
    if !learners.isDisjoint(with: state.voters) { return false }
    if !learners.isDisjoint(with: state.votersOutgoing) { return false }
    if !Set(state.learnersNext).isSubset(of: state.votersOutgoing) { return false }
    if !Set(state.learnersNext).isDisjoint(with: state.voters) { return false }
    return !(state.autoLeave && state.votersOutgoing.isEmpty)
  }
}

package import Base
package import Membership
package import Raft

// `--force-new-cluster`: a member that lost the quorum of its cluster for good goes on alone, with
// all that it holds.
extension Recovery {
  /// Why a member cannot go on alone.
  package enum NewClusterFailure: Error, Equatable {
    /// The member was removed from the cluster, or never heard of it.
    case notAMember
    /// A change of the membership in the log cannot be read or made.
    case entry(LogIndex)
  }

  /// Adds to what was restored the entries after which `memberID` is the only member, and counts
  /// everything in the log as committed. `members` is the table as of the applied index.
  ///
  /// Returns what was added, which the owner writes to the log together with the hard state before
  /// it starts the member. Whoever replays the log, this member first, comes to the same membership.
  /// Nothing is added when the member is alone already.
  package static func forceNewCluster(
    of memberID: MemberID,
    members: MemberTable,
    _ restored: inout RestoredState
  ) throws(NewClusterFailure) -> [Entry] {
    var (table, state) = (members, restored.confState)
    for entry in restored.entries where entry.index > restored.applied {
      guard case .configuration(let change) = entry.payload else { continue }
      replay(change, &table, &state)
    }
    guard let own = table[memberID], !state.voters.isEmpty else { throw .notAMember }
    var changes: [ConfChange] = []
    if !state.votersOutgoing.isEmpty {
      changes.append(.leaveJoint)
      replay(.leaveJoint, &table, &state)
    }
    if own.isLearner { changes.append(MembershipChange(.promote, memberID).confChange) }
    for other in table.members where other.id != memberID {
      changes.append(MembershipChange(.remove, other.id).confChange)
    }
    let last = restored.entries.last?.index ?? restored.snapshotIndex
    restored.hardState.term = max(restored.hardState.term, Term(1))
    var added: [Entry] = []
    for change in changes {
      let index = last + UInt64(added.count + 1)
      if !change.leavesJoint {
        guard replay(change, &table, &state) else { throw .entry(index) }
      }
      added.append(
        Entry(term: restored.hardState.term, index: index, payload: .configuration(change))
      )
    }
    restored.entries += added
    restored.hardState.commit = last + UInt64(added.count)
    return added
  }

  /// Makes a change as `ReplicaMachine` does when it applies it; returns whether it was one.
  @discardableResult
  private static func replay(
    _ change: ConfChange,
    _ table: inout MemberTable,
    _ state: inout ConfState
  ) -> Bool {
    if change.leavesJoint {
      guard let left = try? ConfChanger.apply(change, to: state) else { return false }
      state = left
      return true
    }
    guard let membership = change.context.withUnsafeBytes({ MembershipChange($0) }),
      !change.entersJoint, change.changes == [membership.raftChange]
    else { return false }
    return (try? membership.make(in: &table, &state)) != nil
  }
}

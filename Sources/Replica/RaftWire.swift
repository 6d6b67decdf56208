import Base
package import Proto
package import Raft

// The raftpb form of what Raft's own types say: for the log, the store's metadata and, later, peers.

extension Raftpb.ConfState {
  package init(_ state: ConfState) {
    self.init()
    voters = state.voters.map(\.rawValue)
    learners = state.learners.map(\.rawValue)
    votersOutgoing = state.votersOutgoing.map(\.rawValue)
    learnersNext = state.learnersNext.map(\.rawValue)
    autoLeave = state.autoLeave
  }
}

extension ConfState {
  package init(_ message: Raftpb.ConfState) {
    self.init(
      voters: message.voters.map { MemberID($0) },
      learners: message.learners.map { MemberID($0) },
      votersOutgoing: message.votersOutgoing.map { MemberID($0) },
      learnersNext: message.learnersNext.map { MemberID($0) },
      autoLeave: message.autoLeave
    )
  }
}

extension Raftpb.ConfChangeV2 {
  package init(_ change: ConfChange) {
    self.init()
    transition = Raftpb.ConfChangeTransition(rawValue: Int32(change.transition.rawValue))
    changes = change.changes.map { single in
      var message = Raftpb.ConfChangeSingle()
      message.type = Raftpb.ConfChangeType(rawValue: Int32(single.kind.rawValue))
      message.nodeID = single.member.rawValue
      return message
    }
    context = change.context.array
  }
}

extension ConfChange {
  /// Returns nil when the message holds a kind that this build does not know.
  package init?(_ message: Raftpb.ConfChangeV2) {
    guard
      let transition = UInt8(exactly: message.transition.rawValue)
        .flatMap(Transition.init(rawValue:))
    else { return nil }
    var changes: [Change] = []
    for single in message.changes {
      guard let kind = UInt8(exactly: single.type.rawValue).flatMap(Kind.init(rawValue:)) else {
        return nil
      }
      changes.append(Change(kind, MemberID(single.nodeID)))
    }
    self.init(transition: transition, changes: changes, context: SharedBytes(message.context))
  }
}

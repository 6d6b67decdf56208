package import Base

/// A change of the membership, as it travels in a log entry.
///
/// One change alone takes effect in one step when its entry is applied. Several go through a joint
/// configuration, in which elections and commits need a majority of the old and of the new voters.
/// No changes at all, with the transition `auto`, means: leave the joint configuration.
package struct ConfChange: Sendable {
  /// What happens to a member. Raw values are those of raftpb.ConfChangeType.
  package enum Kind: UInt8, Sendable, Hashable {
    case addVoter = 0
    case removeNode = 1
    case updateNode = 2
    case addLearner = 3
  }

  /// How the change takes effect. Raw values are those of raftpb.ConfChangeTransition.
  package enum Transition: UInt8, Sendable, Hashable {
    /// In one step where that is safe, otherwise like `jointImplicit`.
    case auto = 0
    /// Through a joint configuration that the leader leaves by itself.
    case jointImplicit = 1
    /// Through a joint configuration that is left when somebody proposes to leave it.
    case jointExplicit = 2
  }

  /// One member and what happens to it.
  package struct Change: Sendable, Hashable {
    package var kind: Kind
    package var member: MemberID

    package init(_ kind: Kind, _ member: MemberID) {
      self.kind = kind
      self.member = member
    }
  }

  package var transition: Transition
  package var changes: [Change]

  /// Bytes for whoever applies the change, such as the member's addresses.
  package var context: SharedBytes

  package init(
    transition: Transition = .auto,
    changes: [Change],
    context: SharedBytes = SharedBytes()
  ) {
    self.transition = transition
    self.changes = changes
    self.context = context
  }

  /// The change that ends a joint configuration.
  package static let leaveJoint = ConfChange(changes: [])

  /// Whether this is a `leaveJoint`.
  package var leavesJoint: Bool { transition == .auto && changes.isEmpty }

  /// Whether the change goes through a joint configuration.
  package var entersJoint: Bool { transition != .auto || changes.count > 1 }

  /// The most members that one change may name. A proposal with more is refused.
  package static let changesMax = 64

  var size: Int { leavesJoint ? 0 : changes.count * 12 + context.count }
}

extension ConfChange: Hashable {
  package static func == (left: ConfChange, right: ConfChange) -> Bool {
    left.transition == right.transition && left.changes == right.changes
      && left.context == right.context
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(transition)
    hasher.combine(changes)
    context.withUnsafeBytes { hasher.combine(bytes: $0) }
  }
}

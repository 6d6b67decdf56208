package import Base

/// What a member is at the moment.
package enum Role: UInt8, Sendable, Hashable {
  case follower
  case preCandidate
  case candidate
  case leader
}

/// What the outside may want to know about an election, none of it durable.
package struct SoftState: Sendable, Hashable {
  /// The leader of the present term as far as known; `.none` otherwise.
  package var leader: MemberID
  package var role: Role

  package init(leader: MemberID, role: Role) {
    self.leader = leader
    self.role = role
  }
}

/// The answer to a read request: when `index` is applied, the state is fresh enough for the read.
package struct ReadState: Sendable, Hashable {
  package var context: UInt64
  package var index: LogIndex

  package init(context: UInt64, index: LogIndex) {
    self.context = context
    self.index = index
  }
}

/// The work that a node has for its owner.
///
/// Rules, in the order they are met:
/// 1. `messages` may leave at once, beside the write.
/// 2. `snapshotToInstall`, then `entriesToAppend` and `hardState`, are written as one unit, after
///    those of every earlier Ready. (The unit matters: a member that has an entry of the log must
///    not forget the commit index that came with it.) An entry whose index the log has already
///    replaces that entry and all after it.
/// 3. When that is durable the owner calls `persisted(through: sequence)`, and only then sends
///    `messagesAfterPersist`. Calls may be saved: one covers all Readys up to its sequence.
/// 4. `committedEntries` are applied in order, at once (they are durable here); then the owner calls
///    `applied(through:)`.
package struct Ready: Sendable {
  /// The Ready's number: 1 for a node's first one, each the former's successor.
  package var sequence: UInt64

  /// Entries for the log.
  package var entriesToAppend: [Entry] = []

  /// The hard state, when it has changed.
  package var hardState: HardState?

  /// Whether the write must reach the disk before `persisted`. When false, only the commit index
  /// changed, which may be lost; `persisted` may then be called at once.
  package var mustSync = false

  /// Messages that may leave now.
  package var messages: [Message] = []

  /// Messages that promise something which the write makes true.
  package var messagesAfterPersist: [Message] = []

  /// Entries to apply.
  package var committedEntries: [Entry] = []

  /// Answered read requests of this member.
  package var readStates: [ReadState] = []

  /// Contexts of read requests that will not be answered, since the leader was lost or the
  /// question was. Whoever still wants to read asks again, with a new context.
  package var readsLost: [UInt64] = []

  /// Leader and role, when one of them has changed.
  package var softState: SoftState?

  /// A snapshot that replaces the log and the state machine. Its data is what the transport
  /// received and verified before it gave the message to the node. The owner installs it, calls
  /// `snapshotInstalled(at:)`, and `persisted` for the Ready when the emptied log is durable. An
  /// installation that fails leaves the member unable to go on: it stops, and starts from its disk.
  package var snapshotToInstall: SnapshotMetadata?

  package init(sequence: UInt64) {
    self.sequence = sequence
  }

  /// Whether there is anything to write before `persisted`.
  package var hasWrite: Bool {
    !entriesToAppend.isEmpty || hardState != nil || snapshotToInstall != nil
  }
}

package import Base

extension RaftNode {
  /// The last entry known to be committed.
  package var commit: LogIndex { log.committed }

  /// The last entry reported as applied.
  package var applied: LogIndex { log.applied }

  /// The last entry that is durable here.
  package var durable: LogIndex { log.durable }

  /// The first entry that is in memory, and the last of the log.
  package var firstIndex: LogIndex { log.firstIndex }
  package var lastIndex: LogIndex { log.lastIndex }
  package var lastTerm: Term { log.lastTerm }

  /// The membership in force.
  package var confState: ConfState { peers.confState }

  /// Whom leadership is being handed to; `.none` when it is not.
  package var leadTransferee: MemberID { transferee }

  /// Whether a leader has a change of the membership under way, so that no other can begin.
  package var isConfigurationPending: Bool { pendingConfiguration > log.applied }

  /// Whether this member counts in elections and commits.
  package var isVoter: Bool { peers.isVoter(id) }

  /// Whether this member gets entries and does not count.
  package var isLearner: Bool {
    peers.position(of: id).map { peers.progress[$0].isLearner } ?? false
  }

  /// What a leader knows of all members, itself included, in the order of their IDs; empty at others.
  package var progress: [PeerStatus] {
    guard role == .leader else { return [] }
    return zip(peers.ids, peers.progress).map { PeerStatus(id: $0, $1) }
  }

  /// The snapshot that the next Ready has to install; nil when it has none.
  package var awaitedSnapshot: SnapshotMetadata? { snapshotToInstall }

  /// The term of an entry; nil when it is not in memory.
  package func term(at index: LogIndex) -> Term? { log.term(at: index) }

  /// The entries that are in memory: for tests and tools.
  package var entries: [Entry] {
    log.slice(after: log.offset, through: log.lastIndex, bytesMax: .max)
  }
}

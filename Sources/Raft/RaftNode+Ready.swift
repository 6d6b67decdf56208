package import Base

extension RaftNode {
  private var hardState: HardState { HardState(term: term, vote: vote, commit: log.committed) }

  private var softState: SoftState { SoftState(leader: leader, role: role) }

  /// Whether `ready()` has something to hand out.
  package var hasReady: Bool {
    !messages.isEmpty || !messagesAfterPersist.isEmpty
      || log.handedOut < log.lastIndex || snapshotToInstall != nil
      || (installing == nil && log.applying < log.applicable)
      || appendsDue || canStartReads || !readStates.isEmpty || !readsLost.isEmpty
      || hardState != handedHardState || softState != handedSoftState
  }

  /// Hands out the work that has come up. What it returns is never returned again.
  package mutating func ready() -> Ready {
    sequence += 1
    var ready = Ready(sequence: sequence)
    startReads()
    if appendsDue { sendAppends() }
    takeWrite(into: &ready)
    if !messages.isEmpty { swap(&ready.messages, &messages) }
    if !messagesAfterPersist.isEmpty { swap(&ready.messagesAfterPersist, &messagesAfterPersist) }
    if !readStates.isEmpty { swap(&ready.readStates, &readStates) }
    if !readsLost.isEmpty { swap(&ready.readsLost, &readsLost) }
    if installing == nil {
      ready.committedEntries = log.takeApplicable(bytesMax: configuration.committedBytesMax)
    }
    if softState != handedSoftState {
      handedSoftState = softState
      ready.softState = softState
    }
    return ready
  }

  private mutating func takeWrite(into ready: inout Ready) {
    if log.handedOut < log.lastIndex || snapshotToInstall != nil {
      ready.entriesToAppend = log.handOut(sequence: sequence)
      ready.snapshotToInstall = snapshotToInstall
      snapshotToInstall = nil
      ready.mustSync = true
    }
    let hardState = hardState
    if hardState != handedHardState {
      if hardState.term != handedHardState.term || hardState.vote != handedHardState.vote {
        ready.mustSync = true
      }
      handedHardState = hardState
      ready.hardState = hardState
    }
    if ownVote == .cast { ownVote = .handedOut(sequence) }
  }

  /// The writes of the Ready with this number, and of all before it, are durable.
  ///
  /// Numbers, not positions in the log, say what is durable: an entry that was replaced while its
  /// write was under way, even by one that looks the same, is not taken for the other.
  package mutating func persisted(through sequence: UInt64) {
    precondition(sequence <= self.sequence, "persisted \(sequence), handed out \(self.sequence)")
    log.persisted(through: sequence)
    if role == .leader {
      guard let own = peers.position(of: id) else { return }
      if peers.progress[own].acknowledge(log.durable) { advanceCommit() }
    } else if case .handedOut(let voteSequence) = ownVote, voteSequence <= sequence {
      ownVote = .none
      record(id, granted: true)
    }
  }

  /// The state machine has applied everything through `index`.
  package mutating func applied(through index: LogIndex) {
    log.applied(through: index)
    leaveJointIfDue()
    takeOverIfDue()
  }

  /// The state machine now is that of the snapshot at `index`.
  package mutating func snapshotInstalled(at index: LogIndex) {
    guard let metadata = installing, metadata.index == index else { return }
    precondition(snapshotToInstall == nil, "installed a snapshot that was not handed out")
    log.installed(at: index)
    snapshot = metadata
    installing = nil
  }

  /// The owner can send a snapshot to peers that stands at `metadata`. To be called before
  /// `compact`, or peers that need what was compacted have to wait.
  package mutating func snapshotAvailable(_ metadata: SnapshotMetadata) {
    precondition(metadata.index <= log.applied)
    if let snapshot, snapshot.index > metadata.index { return }
    snapshot = metadata
    if role == .leader { appendsDue = true }
  }

  /// Whether a peer was found since the last call that has to wait for a newer `snapshotAvailable`.
  package mutating func takeSnapshotWish() -> Bool {
    defer { isSnapshotMissing = false }
    return isSnapshotMissing && role == .leader
  }

  /// Drops entries through `index` from memory; they must be applied.
  package mutating func compact(through index: LogIndex) {
    log.compact(through: index)
  }
}

package import Base

extension RaftNode {
  mutating func becomeLeader() {
    precondition(role == .candidate)
    reset(term: term)
    role = .leader
    leader = id
    if let position = peers.position(of: id) { peers.progress[position].becomeReplicate() }
    uncommittedBytes = log.size(after: log.committed, through: log.lastIndex)
    pendingConfiguration =
      log.lastConfiguration(after: log.applied, through: log.lastIndex) ?? .zero
    // Entries of earlier terms commit only together with one of this term (paper, 5.4.2).
    append(.empty)
  }

  mutating func append(_ payload: Payload) {
    log.append(term: term, payload)
    uncommittedBytes += payload.size + Entry.overheadBytes
    appendsDue = true
  }

  /// Proposes entries with the given contents, in order.
  ///
  /// A leader appends them and returns the index of the first; that they are committed shows when
  /// they come back as committed entries with the term they were proposed in. Another member sends
  /// them on to the leader and returns nil; they may be lost or, later, committed.
  @discardableResult
  package mutating func propose(_ payloads: [SharedBytes]) throws(ProposeError) -> LogIndex? {
    guard !payloads.isEmpty else { return nil }
    guard role == .leader else {
      guard leader != .none else { throw .noLeader }
      forward(payloads.map { Entry(term: .zero, index: .zero, payload: .normal($0)) })
      return nil
    }
    if transferee != .none || retirement > .zero { throw .transferring }
    var bytes = payloads.count * Entry.overheadBytes
    for payload in payloads { bytes += payload.count }
    try admit(bytes)
    let first = log.lastIndex + 1
    log.append(term: term, payloads)
    uncommittedBytes += bytes
    appendsDue = true
    return first
  }

  /// Proposes a change of the membership. See `propose(_:)` for entries.
  @discardableResult
  package mutating func propose(_ change: ConfChange) throws(ProposeError) -> LogIndex? {
    if change.changes.count > ConfChange.changesMax { throw .configurationInvalid }
    guard role == .leader else {
      guard leader != .none else { throw .noLeader }
      forward([Entry(term: .zero, index: .zero, payload: .configuration(change))])
      return nil
    }
    if transferee != .none || retirement > .zero { throw .transferring }
    if pendingConfiguration > log.applied { throw .configurationPending }
    do { _ = try ConfChanger.apply(change, to: peers.confState) } catch {
      throw .configurationInvalid
    }
    try admit(change.size + Entry.overheadBytes)
    append(.configuration(change))
    pendingConfiguration = log.lastIndex
    return pendingConfiguration
  }

  private func admit(_ bytes: Int) throws(ProposeError) {
    if uncommittedBytes > 0, uncommittedBytes + bytes > configuration.uncommittedBytesMax {
      throw .dropped
    }
  }

  /// Leaves a joint configuration that ends by itself, once the entry that began it is applied.
  mutating func leaveJointIfDue() {
    guard role == .leader, peers.confState.autoLeave, pendingConfiguration <= log.applied else {
      return
    }
    append(.configuration(.leaveJoint))
    pendingConfiguration = log.lastIndex
  }

  /// Commits what a quorum holds durably, if the last of it is of this term: earlier terms' entries
  /// are never committed by counting.
  mutating func advanceCommit() {
    let index = peers.quorumMatch()
    guard index > log.committed, index <= log.lastIndex, log.term(at: index) == term else { return }
    uncommittedBytes -= log.size(after: log.committed, through: index)
    log.commit(through: index)
    appendsDue = true
    if retirement > .zero, index >= retirement { retire() }
  }
}

// Leadership transfer
extension RaftNode {
  /// Hands leadership to `target`, which must be a voter: proposals wait until it is elected or an
  /// election timeout has passed. A member that does not lead asks the leader to do it. Where that
  /// cannot be, nothing happens; the owner watches the leader change.
  package mutating func transferLeadership(to target: MemberID) {
    if role == .leader {
      beginTransfer(to: target)
    } else if leader != .none {
      var message = Message(.transferLeader, from: id, to: leader, term: term)
      message.context = target.rawValue
      messages.append(message)
    }
  }

  mutating func stepTransferLeader(_ message: borrowing Message) {
    if role == .leader { beginTransfer(to: MemberID(message.context)) }
  }

  private mutating func beginTransfer(to target: MemberID) {
    guard target != transferee else { return }
    transferee = .none
    guard target != id, peers.isVoter(target), let position = peers.position(of: target) else {
      return
    }
    // From here on the transfer has one election timeout.
    electionElapsed = 0
    transferee = target
    if peers.progress[position].match == log.lastIndex {
      sendTimeoutNow(to: target)
    } else {
      // What it lacks may be lost rather than under way.
      peers.progress[position].wantsNudge = true
      appendsDue = true
    }
  }

  func isTransferReady(_ position: Int) -> Bool {
    peers.ids[position] == transferee && peers.progress[position].match == log.lastIndex
  }

  mutating func sendTimeoutNow(to target: MemberID) {
    messages.append(Message(.timeoutNow, from: id, to: target, term: term))
  }
}

import Base

extension RaftNode {
  /// Entries from the leader, or none: then it is a question whether the logs agree, or news of
  /// the commit index.
  mutating func stepAppend(_ message: borrowing Message) throws(RaftError) {
    var answer = Message(.appResp, from: id, to: message.from, term: term)
    if message.index < log.committed {
      // Committed entries agree with every leader's.
      answer.index = log.committed
    } else if !awaitsSnapshot, log.term(at: message.index) == message.logTerm {
      try log.merge(message.entries)
      let matched = message.index + UInt64(message.entries.count)
      log.commit(through: min(message.commit, matched))
      answer.index = matched
    } else {
      // The highest place that can agree saves the leader from going back entry by entry.
      let (hint, hintTerm) = log.agreement(
        notAbove: min(message.index, log.lastIndex),
        message.logTerm
      )
      answer.index = message.index
      answer.reject = true
      answer.rejectHint = hint
      answer.logTerm = hintTerm
      // A refusal promises nothing that a disk must hold first.
      messages.append(answer)
      return
    }
    messagesAfterPersist.append(answer)
  }

  /// The leader lives. The answer promises nothing about the log, so it does not wait for the disk.
  mutating func stepHeartbeat(_ message: borrowing Message) throws(RaftError) {
    if message.commit > log.lastIndex { throw .beyondLog }
    log.commit(through: message.commit)
    var answer = Message(.heartbeatResp, from: id, to: message.from, term: term)
    answer.context = message.context
    messages.append(answer)
  }

  /// A snapshot has arrived: take it, unless the log has what it holds.
  mutating func stepSnapshot(_ message: borrowing Message) {
    var answer = Message(.appResp, from: id, to: message.from, term: term)
    defer { messagesAfterPersist.append(answer) }
    guard let snapshot = message.snapshot, snapshot.index > log.committed else {
      answer.index = log.committed
      return
    }
    if log.term(at: snapshot.index) == snapshot.term {
      log.commit(through: snapshot.index)
      answer.index = log.committed
      return
    }
    let state = snapshot.confState
    guard
      state.voters.contains(id) || state.learners.contains(id) || state.votersOutgoing.contains(id)
    else {
      answer.index = log.committed
      return
    }
    log.reset(to: snapshot)
    awaitsSnapshot = false
    peers.update(state, next: log.lastIndex + 1)
    snapshotToInstall = snapshot
    installing = snapshot
    answer.index = snapshot.index
  }

  /// The leader wants this member to take over now.
  mutating func stepTimeoutNow(_ message: borrowing Message) {
    guard role == .follower, message.from == leader, isPromotable, mayLead else { return }
    takeoverDue = true
    takeOverIfDue()
  }

  /// Campaigns for a leader that hands over, as soon as what stands against it is applied.
  mutating func takeOverIfDue() {
    if takeoverDue, mayCampaign { campaign(transfer: true) }
  }

  /// Proposals of another member. At a leader they are appended or, for the reasons that make
  /// `propose` throw, dropped; elsewhere they go on to the leader, if that is not where they come from.
  mutating func stepPropose(_ message: borrowing Message) {
    guard role == .leader else {
      if leader != .none, leader != message.from { forward(message.entries) }
      return
    }
    var payloads: [SharedBytes] = []
    payloads.reserveCapacity(message.entries.count)
    for entry in message.entries {
      switch entry.payload {
      case .empty: break
      case .normal(let bytes): payloads.append(bytes)
      case .configuration(let change): _ = try? propose(change)
      }
    }
    _ = try? propose(payloads)
  }

  /// Sends proposals to the leader.
  mutating func forward(_ entries: [Entry]) {
    var message = Message(.propose, from: id, to: leader, term: .zero)
    message.entries = entries
    messages.append(message)
  }
}

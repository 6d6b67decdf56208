package import Base

extension RaftNode {
  /// The entries that went to one peer last: peers that are equally far get the same array.
  private struct SharedSlice {
    var after: LogIndex
    var entries: [Entry]
    var bytes: Int
  }

  /// Sends every peer what it may get now.
  mutating func sendAppends() {
    appendsDue = false
    var shared: SharedSlice?
    for position in peers.ids.indices where peers.ids[position] != id {
      while sendAppend(to: position, &shared) {}
    }
  }

  /// Sends one message to a peer; returns whether another may follow at once.
  private mutating func sendAppend(to position: Int, _ shared: inout SharedSlice?) -> Bool {
    var progress = peers.progress[position]
    var withEntries = progress.next <= log.lastIndex
    switch progress.state {
    case .snapshot:
      return false
    case .probe:
      if progress.isProbeSent { return false }
    case .replicate:
      let isFull = progress.inflights.isFull(
        messagesMax: configuration.inflightMessagesMax,
        bytesMax: configuration.inflightBytesMax
      )
      withEntries = withEntries && !isFull
      let news = min(log.committed, progress.next - 1)
      if !withEntries, news <= progress.commitSent, !progress.wantsNudge { return false }
    }
    let previous = progress.next - 1
    guard previous >= log.offset, let previousTerm = log.term(at: previous) else {
      sendSnapshot(to: position)
      return false
    }
    var message = Message(.app, from: id, to: peers.ids[position], term: term)
    message.index = previous
    message.logTerm = previousTerm
    message.commit = log.committed
    var bytes = 0
    if withEntries {
      let slice = slice(after: previous, &shared)
      message.entries = slice.entries
      bytes = slice.bytes
    }
    let last = previous + UInt64(message.entries.count)
    progress.commitSent = min(log.committed, last)
    progress.wantsNudge = false
    if progress.state == .probe {
      progress.isProbeSent = true
    } else if withEntries {
      progress.next = last + 1
      progress.inflights.add(lastIndex: last, bytes: bytes)
    }
    peers.progress[position] = progress
    messages.append(message)
    return progress.state == .replicate && last < log.lastIndex
  }

  private func slice(after index: LogIndex, _ shared: inout SharedSlice?) -> SharedSlice {
    if let shared, shared.after == index { return shared }
    let entries = log.slice(
      after: index,
      through: log.lastIndex,
      bytesMax: configuration.messageBytesMax
    )
    var bytes = 0
    for entry in entries { bytes += entry.size }
    let slice = SharedSlice(after: index, entries: entries, bytes: bytes)
    shared = slice
    return slice
  }

  /// Offers the snapshot to a peer that needs entries which are gone. Without a snapshot, or
  /// without a sign of life from the peer, waits for its next answer to a heartbeat.
  private mutating func sendSnapshot(to position: Int) {
    if peers.progress[position].state == .replicate { peers.progress[position].becomeProbe() }
    guard let snapshot, snapshot.index >= log.offset, peers.progress[position].isRecentlyActive
    else {
      if peers.progress[position].isRecentlyActive { isSnapshotMissing = true }
      peers.progress[position].isProbeSent = true
      return
    }
    peers.progress[position].becomeSnapshot(snapshot.index)
    var message = Message(.snapshot, from: id, to: peers.ids[position], term: term)
    message.snapshot = snapshot
    messages.append(message)
  }

  mutating func stepAppendResponse(_ message: borrowing Message) throws(RaftError) {
    guard role == .leader, let position = peers.position(of: message.from) else { return }
    peers.progress[position].isRecentlyActive = true
    if message.reject {
      var hint = message.rejectHint
      if message.logTerm > .zero {
        (hint, _) = log.agreement(notAbove: min(hint, log.lastIndex), message.logTerm)
      }
      guard peers.progress[position].reject(message.index, hint: hint) else { return }
      if message.index == .zero {
        // All logs agree there: it is one who has yet to be told how the cluster began.
        sendSnapshot(to: position)
      } else {
        appendsDue = true
      }
      return
    }
    if message.index > log.lastIndex { throw .beyondLog }
    let isNews = peers.progress[position].acknowledge(message.index)
    let match = peers.progress[position].match
    switch peers.progress[position].state {
    case .probe:
      if isNews || match == message.index { peers.progress[position].becomeReplicate() }
    case .snapshot:
      // It has come far enough for the log to go on, by this snapshot or another.
      if isNews, match >= log.offset { peers.progress[position].becomeReplicate() }
    case .replicate:
      peers.progress[position].inflights.release(through: message.index)
    }
    appendsDue = true
    if isNews {
      advanceCommit()
      if isTransferReady(position) { sendTimeoutNow(to: message.from) }
    }
  }

  mutating func broadcastHeartbeat() {
    heartbeatElapsed = 0
    for (position, peer) in peers.ids.enumerated() where peer != id {
      var message = Message(.heartbeat, from: id, to: peer, term: term)
      // Beyond its match the peer's log may differ.
      message.commit = min(peers.progress[position].match, log.committed)
      message.context = rounds.lastNumber
      messages.append(message)
    }
  }

  mutating func stepHeartbeatResponse(_ message: borrowing Message) {
    guard role == .leader, let position = peers.position(of: message.from) else { return }
    peers.progress[position].isRecentlyActive = true
    peers.progress[position].isProbeSent = false
    switch peers.progress[position].state {
    case .snapshot:
      break
    case .probe:
      appendsDue = true
    case .replicate:
      let progress = peers.progress[position]
      if progress.inflights.isFull(
        messagesMax: configuration.inflightMessagesMax,
        bytesMax: configuration.inflightBytesMax
      ) {
        peers.progress[position].inflights.releaseFirst()
      }
      if progress.match < log.lastIndex {
        peers.progress[position].wantsNudge = true
        appendsDue = true
      }
    }
    confirmReads(message.context, from: position)
  }

  /// The transport could not deliver to `peer`: messages under way may be lost.
  package mutating func reportUnreachable(_ peer: MemberID) {
    guard role == .leader, let position = peers.position(of: peer) else { return }
    if peers.progress[position].state == .replicate { peers.progress[position].becomeProbe() }
  }

  /// The snapshot for `peer` was delivered, or failed. Must follow every `.snapshot` message, since
  /// the peer gets nothing else in between.
  package mutating func reportSnapshot(_ peer: MemberID, success: Bool) {
    guard role == .leader, let position = peers.position(of: peer),
      case .snapshot = peers.progress[position].state
    else { return }
    if success {
      peers.progress[position].becomeProbe()
    } else {
      peers.progress[position].abandonSnapshot()
    }
    // The peer speaks first: with the acknowledgement of the snapshot, or to a heartbeat.
    peers.progress[position].isProbeSent = true
  }
}

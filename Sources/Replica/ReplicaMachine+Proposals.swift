package import Base
import MVCC
import Proto
import Raft

// How proposals get to the leader, from here and from other members.
extension ReplicaMachine {
  /// Proposes a block that `ProposalBatch.take()` made.
  ///
  /// What clients ask for is refused while too much waits already. What the member itself proposes
  /// (`isUrgent`) is let through to Raft's own, higher bound. In a cluster of several, what comes
  /// while there is no leader waits for one; `name` comes back in `ReplicaOutput.proposalsNotDone`
  /// when what has no answer by then will never have one.
  package func receive(
    proposals block: ByteBlock,
    named name: ProposalBlockName? = nil,
    isUrgent: Bool = false
  ) {
    let requests = ProposalBatch.requests(in: block)
    guard isUrgent || hasRoomForLoad else { return refuse(requests, .tooManyRequests) }
    propose(requests, byteCount: block.count, name)
  }

  private var hasRoomForLoad: Bool {
    pendingBytes < configuration.unappliedBytesMax
      && raft.lastIndex - applied.index < configuration.unappliedEntriesMax
      && raft.uncommittedBytes
        < configuration.raft.uncommittedBytesMax - configuration.urgentBytesReserved
  }

  private func refuse(_ requests: [SharedBytes], _ error: RequestError) {
    status.proposalsFailed += UInt64(requests.count)
    for request in requests {
      request.withUnsafeBytes { bytes in
        let handle = InternalRequest(bytes, epoch: configuration.epoch).handle
        reply(to: handle) { (_: inout ByteWriter) throws(RequestError) in throw error }
      }
    }
  }

  private func propose(_ requests: [SharedBytes], byteCount: Int, _ name: ProposalBlockName?) {
    // The order of a loop's blocks is kept.
    if desk.held.isEmpty {
      if raft.role == .leader {
        do throws(ProposeError) {
          try raft.propose(requests)
          return desk.noteProposed(name, in: raft.term)
        } catch {
          guard error == .transferring, !isAlone else {
            return refuse(requests, RequestError(error))
          }
        }
      } else if raft.leader != .none {
        if desk.canForward(bytes: byteCount) { return forward(requests, name) }
      } else if isAlone {
        return refuse(requests, .noLeader)
      }
    }
    guard desk.heldBytes + byteCount <= ForwardingDesk.heldBytesMax else {
      return refuse(requests, .tooManyRequests)
    }
    hold(requests, byteCount: byteCount, name)
  }

  private func hold(
    _ requests: [SharedBytes],
    byteCount: Int,
    _ name: ProposalBlockName?,
    origin: ForwardingDesk.Origin? = nil
  ) {
    desk.heldBytes += byteCount
    desk.held.append(
      ForwardingDesk.Held(
        requests: requests,
        byteCount: byteCount,
        name: name,
        origin: origin,
        tick: tickCount
      )
    )
  }

  private func forward(_ requests: [SharedBytes], _ name: ProposalBlockName?) {
    forward(requests.map { .normal($0) })
    desk.noteProposed(name, in: raft.term)
  }

  /// Sends something to the leader, who takes it once, and in this term only. A message is repeated
  /// until its requests, the last of which is one of this member's clients, are applied or refused.
  func forward(_ payloads: [Payload]) {
    var message = Raft.Message(.propose, from: configuration.memberID, to: raft.leader, term: .zero)
    message.logTerm = raft.term
    message.entries = payloads.map { Entry(term: .zero, index: .zero, payload: $0) }
    desk.forward(
      message,
      lastRequest: lastOwnRequest(in: message),
      tick: tickCount,
      pauseTicks: UInt64(configuration.raft.electionTimeoutTicks)
    )
  }

  /// The last request of a message for which a client of this member waits.
  private func lastOwnRequest(in message: borrowing Raft.Message) -> RequestHandle {
    for request in Self.requests(in: message).reversed() {
      let handle = request.withUnsafeBytes {
        InternalRequest($0, epoch: configuration.epoch).handle
      }
      if handle != .none { return handle }
    }
    return .none
  }

  /// The requests that a message of proposals holds, each an `InternalRaftRequest`.
  private static func requests(in message: borrowing Raft.Message) -> [SharedBytes] {
    message.entries.compactMap { entry in
      switch entry.payload {
      case .normal(let request): request
      case .configuration(let change): change.context
      case .empty: nil
      }
    }
  }

  /// A new stream of messages to a peer stands: what was on the one before may be lost.
  package func peerConnected(_ peer: MemberID) {
    guard raft.leader == peer, desk.forwarded.term == raft.term else { return }
    desk.outgoing += desk.forwarded.resendAll(at: tickCount)
  }

  /// Sends again what there was no sign of for some time, and drops what nobody waits for.
  func reviewForwarded() {
    guard !desk.forwarded.isEmpty else { return }
    guard desk.forwarded.term == raft.term else {
      // Nobody takes them any more.
      desk.forwarded = ForwardedMessages()
      return
    }
    let patience = UInt64(configuration.patienceTicks)
    if tickCount > patience { desk.forwarded.removeSent(before: tickCount - patience) }
    desk.outgoing += desk.forwarded.resendDue(at: tickCount)
  }

  /// Proposes what was held, as far as that is possible now.
  func proposeHeld() {
    while let first = desk.held.first {
      let isHere = raft.role == .leader && raft.leadTransferee == .none
      if let origin = first.origin, !isHere || raft.term != origin.term {
        // Its sender will hear of the new term.
        if raft.role == .leader && raft.term == origin.term { return }
        dropFirstHeld()
        continue
      }
      if isHere {
        do throws(ProposeError) {
          try raft.propose(first.requests)
          desk.noteProposed(first.name, in: raft.term)
        } catch {
          if error == .transferring { return }
          refuse(first, RequestError(error))
        }
      } else if raft.role != .leader && raft.leader != .none,
        desk.canForward(bytes: first.byteCount)
      {
        forward(first.requests, first.name)
      } else {
        return
      }
      dropFirstHeld()
    }
  }

  private func refuse(_ held: ForwardingDesk.Held, _ error: RequestError) {
    if let origin = held.origin {
      sendRefusal(of: held.requests, error, origin)
    } else {
      refuse(held.requests, error)
    }
  }

  private func dropFirstHeld() {
    desk.heldBytes -= desk.held.removeFirst().byteCount
  }

  /// Drops what waited for longer than anybody waits for an answer.
  func expireHeld() {
    let patience = UInt64(configuration.patienceTicks)
    while let first = desk.held.first, first.tick + patience < tickCount { dropFirstHeld() }
  }

  // MARK: Other members' proposals

  /// Proposals of a member that takes this one for the leader, or the answer to some of ours.
  func receiveProposals(_ message: borrowing Raft.Message) {
    guard message.to == configuration.memberID, message.from != configuration.memberID else {
      return
    }
    if message.reject { return receiveRefusal(message) }
    // Otherwise the sender hears of a newer term soon, and knows then what became of it.
    guard raft.role == .leader, message.logTerm == raft.term else { return }
    let origin = ForwardingDesk.Origin(
      member: message.from,
      number: message.context,
      term: raft.term
    )
    switch desk.arrival(of: origin) {
    case .new: takeProposals(message, origin)
    case .repeated: return
    case .refused(let error): sendRefusal(of: Self.requests(in: message), error, origin)
    }
  }

  private func takeProposals(
    _ message: borrowing Raft.Message,
    _ origin: ForwardingDesk.Origin
  ) {
    var requests: [SharedBytes] = []
    var bytes = 0
    for entry in message.entries {
      switch entry.payload {
      case .normal(let request):
        requests.append(request)
        bytes += entry.size
      case .configuration(let change):
        do throws(RequestError) {
          try receive(change)
        } catch {
          sendRefusal(of: [change.context], error, origin)
        }
      case .empty: continue
      }
    }
    if requests.isEmpty { return }
    guard hasRoomForLoad, desk.heldBytes + bytes <= ForwardingDesk.heldBytesMax else {
      return sendRefusal(of: requests, .tooManyRequests, origin)
    }
    if !desk.held.isEmpty { return hold(requests, byteCount: bytes, nil, origin: origin) }
    do throws(ProposeError) {
      try raft.propose(requests)
    } catch .transferring {
      hold(requests, byteCount: bytes, nil, origin: origin)
    } catch {
      sendRefusal(of: requests, RequestError(error), origin)
    }
  }

  /// Tells a member that its proposals are in no log.
  private func sendRefusal(
    of requests: [SharedBytes],
    _ error: RequestError,
    _ origin: ForwardingDesk.Origin
  ) {
    desk.noteRefused(origin, error)
    var answer = Raft.Message(
      .propose,
      from: configuration.memberID,
      to: origin.member,
      term: .zero
    )
    answer.logTerm = origin.term
    answer.reject = true
    answer.context = origin.number
    answer.index = LogIndex(UInt64(error.rawValue))
    var handles = ByteWriter(capacity: requests.count * 8)
    for request in requests {
      request.withUnsafeBytes {
        handles.append(integer: InternalRequest.handle(in: $0).rawValue.littleEndian)
      }
    }
    let payload = Payload.normal(SharedBytes(handles.takeBlock(nextCapacity: 0)))
    answer.entries = [Entry(term: .zero, index: .zero, payload: payload)]
    desk.outgoing.append(answer)
  }

  private func receiveRefusal(_ message: borrowing Raft.Message) {
    guard let code = UInt8(exactly: message.index.rawValue),
      let error = RequestError(rawValue: code),
      desk.noteRefusal(of: message.context, in: message.logTerm)
    else { return }
    for entry in message.entries {
      guard case .normal(let handles) = entry.payload else { continue }
      handles.withUnsafeBytes { bytes in
        for offset in stride(from: 0, to: bytes.count / 8 * 8, by: 8) {
          let raw = UInt64(
            littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
          )
          status.proposalsFailed += 1
          reply(to: RequestHandle(rawValue: raw)) { (_: inout ByteWriter) throws(RequestError) in
            throw error
          }
        }
      }
    }
  }

  // MARK: What was lost

  /// After an entry of a new term was applied: what was proposed in earlier ones and has no answer
  /// is not done.
  func noteLostProposals(into output: inout ReplicaOutput) {
    output.proposalsNotDone = desk.takeRuns(before: applied.term)
    if !unknownProposals.isEmpty {
      output.proposalsUnknown = unknownProposals
      unknownProposals.removeAll()
    }
  }

  /// The state machine was replaced: entries were applied elsewhere, so nobody here knows which of
  /// the proposals under way are done.
  package func loseTrackOfProposals() {
    unknownProposals.append(contentsOf: desk.takeRuns(before: Term(.max)))
    desk.forwarded = ForwardedMessages()
  }
}

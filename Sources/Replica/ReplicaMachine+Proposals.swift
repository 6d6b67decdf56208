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
        return forward(requests, name)
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
    onlyIn term: Term? = nil
  ) {
    desk.heldBytes += byteCount
    desk.held.append(
      ForwardingDesk.Held(
        requests: requests,
        byteCount: byteCount,
        name: name,
        onlyIn: term,
        tick: tickCount
      )
    )
  }

  private func forward(_ requests: [SharedBytes], _ name: ProposalBlockName?) {
    forward(requests.map { .normal($0) })
    desk.noteProposed(name, in: raft.term)
  }

  /// Sends something to the leader, who takes it once, and in this term only.
  func forward(_ payloads: [Payload]) {
    var message = Raft.Message(.propose, from: configuration.memberID, to: raft.leader, term: .zero)
    message.logTerm = raft.term
    message.context = desk.takeNumber()
    message.entries = payloads.map { Entry(term: .zero, index: .zero, payload: $0) }
    desk.outgoing.append(message)
  }

  /// Proposes what was held, as far as that is possible now.
  func proposeHeld() {
    while let first = desk.held.first {
      let isHere = raft.role == .leader && raft.leadTransferee == .none
      if let term = first.onlyIn, !isHere || raft.term != term {
        // Its sender will hear of the new term.
        if raft.role == .leader && raft.term == term { return }
        dropFirstHeld()
        continue
      }
      if isHere {
        do throws(ProposeError) {
          try raft.propose(first.requests)
          desk.noteProposed(first.name, in: raft.term)
        } catch {
          if error == .transferring { return }
          refuse(first.requests, RequestError(error))
        }
      } else if raft.role != .leader && raft.leader != .none {
        forward(first.requests, first.name)
      } else {
        return
      }
      dropFirstHeld()
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
    guard raft.role == .leader, message.logTerm == raft.term,
      desk.isNew(message.context, from: message.from, in: raft.term)
    else { return }
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
          sendRefusal(of: [change.context], error, message)
        }
      case .empty: continue
      }
    }
    if requests.isEmpty { return }
    guard hasRoomForLoad, desk.heldBytes + bytes <= ForwardingDesk.heldBytesMax else {
      return sendRefusal(of: requests, .tooManyRequests, message)
    }
    if !desk.held.isEmpty { return hold(requests, byteCount: bytes, nil, onlyIn: raft.term) }
    do throws(ProposeError) {
      try raft.propose(requests)
    } catch .transferring {
      hold(requests, byteCount: bytes, nil, onlyIn: raft.term)
    } catch {
      sendRefusal(of: requests, RequestError(error), message)
    }
  }

  /// Tells a member that its proposals are in no log.
  private func sendRefusal(
    of requests: [SharedBytes],
    _ error: RequestError,
    _ message: borrowing Raft.Message
  ) {
    var answer = Raft.Message(
      .propose,
      from: configuration.memberID,
      to: message.from,
      term: .zero
    )
    answer.logTerm = raft.term
    answer.reject = true
    answer.context = message.context
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
    guard desk.isOwn(message.context),
      let code = UInt8(exactly: message.index.rawValue),
      let error = RequestError(rawValue: code)
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
  }
}

import Base
import Log
import MVCC
import Membership
import Raft
import Replica

// Machines that start and stop, and what goes between them.
extension Simulation {
  /// Starts a machine's member. A damaged log must be refused; nothing else may be.
  func start(_ node: SimulatedNode) throws {
    guard node.member == nil, !node.isRetired else { return }
    guard let origin = origin(of: node) else {
      if oracle.membership.removed.contains(node.id) { return retire(node) }
      return later(200_000_000) { [unowned self] in try start(node) }
    }
    node.lives += 1
    let member: SimulatedMember
    do {
      member = try SimulatedMember(self, node, origin: origin, seed: random.next())
    } catch is SimulatedMember.Removed {
      return retire(node)
    } catch let error as LogError {
      return try startFailed(node, error)
    }
    node.member = member
    note("starts", node, UInt64(node.lives), member.restoredIndex.rawValue)
    let index = member.restoredIndex.rawValue
    guard index <= oracle.applied else {
      throw Violation(.replay, "m\(node.number) has applied \(index), beyond \(oracle.applied)")
    }
    guard member.store.stateHash == oracle.hashes[Int(index)],
      member.store.currentRevision.rawValue == oracle.revisions[Int(index)]
    else {
      throw Violation(.replay, "m\(node.number) starts with a state that is not that of \(index)")
    }
    if let flipped = node.flipped {
      guard member.log.lastIndex >= flipped.last else {
        throw Violation(
          .damage,
          "m\(node.number) starts from a damaged log, cut off at \(member.log.lastIndex) of "
            + "\(flipped.last)"
        )
      }
      node.flipped = nil
    }
    try member.input { $0.tick() }
  }

  private func startFailed(_ node: SimulatedNode, _ error: LogError) throws {
    count { $0.refusedStarts += 1 }
    note("refuses to start", node)
    switch error {
    case .damaged:
      guard let flipped = node.flipped else {
        throw Violation(.damage, "m\(node.number) does not start: \(error)")
      }
      // There is no way yet to replace it: the bit is as it was again.
      node.flipped = nil
      node.files.flip(bit: flipped.bit, of: flipped.path, at: flipped.offset)
    case .diskFull, .failed:
      guard node.hasDiskFault else {
        throw Violation(.unexpected, "m\(node.number) does not start: \(error)")
      }
      node.files.limit(bytes: nil)
      node.hasDiskFault = false
    default:
      throw Violation(.unexpected, "m\(node.number) does not start: \(error)")
    }
    later(500_000_000) { [unowned self] in try start(node) }
  }

  /// Ends a member's life: the power goes, or only the process.
  func stop(_ node: SimulatedNode, isPowerLost: Bool, restartAfter nanoseconds: UInt64) {
    guard let member = node.member else { return }
    count { $0.crashes += 1 }
    note(isPowerLost ? "loses power" : "is killed", node, member.machine.status.applied.rawValue)
    end(node, isPowerLost: isPowerLost)
    later(nanoseconds) { [unowned self] in try start(node) }
  }

  /// Takes the member from its machine.
  func end(_ node: SimulatedNode, isPowerLost: Bool) {
    let member = node.member
    node.member = nil
    node.isPaused = false
    node.deferred.removeAll()
    node.storageFault = false
    if isPowerLost { node.files.crash() } else { node.files.restart() }
    guard let member else { return }
    member.tearDown()
    for (call, waiting) in calls.sorted(by: { $0.key < $1.key }) where waiting.member === member {
      later(UInt64(1 + random.below(5)) * 1_000_000) { [unowned self] in
        try finish(call, .unknown)
      }
    }
  }

  func crashLater(_ node: SimulatedNode) {
    let member = node.member
    later(1_000_000) { [unowned self] in
      guard node.member === member else { return }
      stop(node, isPowerLost: true, restartAfter: 100_000_000)
    }
  }

  func pause(_ node: SimulatedNode, _ nanoseconds: UInt64) {
    guard let member = node.member, !node.isPaused else { return }
    note("pauses", node, nanoseconds / 1_000_000)
    node.isPaused = true
    later(nanoseconds) { [unowned self] in
      guard node.member === member, node.isPaused else { return }
      try resume(node)
    }
  }

  func resume(_ node: SimulatedNode) throws {
    note("resumes", node, UInt64(node.deferred.count))
    node.isPaused = false
    let deferred = node.deferred
    node.deferred = []
    for action in deferred { try action() }
  }

  // MARK: Messages

  func send(_ sent: Message, from sender: SimulatedMember) throws {
    let from = sender.node
    var message = sent
    if let other = removedAnswersFor, sent.kind == .voteResp || sent.kind == .preVoteResp {
      message.from = other
    }
    guard let to = nodes.first(where: { $0.id == message.to }) else { return }
    count { $0.messages += 1 }
    note(
      message.kind.traceName,
      from,
      message.term.rawValue,
      message.index.rawValue,
      to: to,
      isWorthKeeping: message.kind != .heartbeat && message.kind != .heartbeatResp
    )
    let delays = network.delays(from: from.number, to: to.number, &random)
    if delays.isEmpty { count { $0.lostMessages += 1 } }
    let stream = network.stream(from: from.number, to: to.number)
    for delay in delays {
      later(delay) { [unowned self] in
        guard network.stream(from: from.number, to: to.number) == stream else {
          return count { $0.lostMessages += 1 }
        }
        try deliver(message, to: to)
      }
    }
    if broken == .commitWithoutQuorum, message.kind == .app, !message.entries.isEmpty {
      forgeAnswer(to: message, sender)
    }
    if broken == .learnerCounts { forgeVoter(message, sender) }
    if broken == .removedVotes { askRemoved(message, from) }
    if from.crashesAfterVote, message.kind == .voteResp, !message.reject {
      from.crashesAfterVote = false
      later(1000) { [unowned self] in
        guard from.member === sender else { return }
        stop(from, isPowerLost: true, restartAfter: 2_000_000)
      }
    }
  }

  private func deliver(_ sent: Message, to node: SimulatedNode) throws {
    guard let member = node.member else { return }
    let message = broken == .proposalsTakenTwice ? renumbered(sent) : sent
    // Their connections were refused.
    if refusesRemoved, broken != .removedVotes, member.machine.members.isRemoved(message.from) {
      return
    }
    // The leader hears only what is forged.
    if broken == .commitWithoutQuorum, message.kind == .appResp { return }
    try member.input { [unowned self] member in
      do throws(RaftError) {
        try member.machine.receive(message)
      } catch {
        note("refuses a message", node, UInt64(message.kind.rawValue), message.index.rawValue)
        guard broken == nil else { return }
        throw Violation(
          .unexpected,
          "m\(node.number) refuses \(message.kind) of \(message.from): \(error)"
        )
      }
    }
  }

  /// Breaks `.commitWithoutQuorum`.
  private func forgeAnswer(to message: Message, _ sender: SimulatedMember) {
    var answer = Message(.appResp, from: message.to, to: message.from, term: message.term)
    answer.index = message.index + UInt64(message.entries.count)
    sender.later(200_000) { try? $0.machine.receive(answer) }
  }
}

// Rules broken on the way of messages.
extension Simulation {
  /// Breaks `.proposalsTakenTwice`: no message with proposals bears the number of another.
  private func renumbered(_ sent: Message) -> Message {
    guard sent.kind == .propose, sent.logTerm > .zero, !sent.reject else { return sent }
    var message = sent
    message.context = takeToken()
    return message
  }

  /// Breaks `.learnerCounts`: what a learner says to have is taken for a voter's.
  private func forgeVoter(_ message: Message, _ sender: SimulatedMember) {
    guard message.kind == .appResp, !message.reject, sender.machine.status.isLearner else { return }
    let voters = oracle.membership.voters.filter { $0 != message.to }
    guard let leader = nodes.first(where: { $0.id == message.to }), let voter = voters.first else {
      return
    }
    var forged = message
    forged.from = voter
    let answer = forged
    later(500_000) { try leader.member?.input { try? $0.machine.receive(answer) } }
  }

  /// Breaks `.removedVotes`: a removed member is asked as well, and gives its vote for another.
  private func askRemoved(_ message: Message, _ candidate: SimulatedNode) {
    guard message.kind == .vote || message.kind == .preVote,
      let removed = nodes.first(where: {
        $0.isUp && oracle.membership.removed.contains($0.id) && $0 !== candidate
      })
    else { return }
    var question = message
    question.to = removed.id
    let asked = question
    later(500_000) { [unowned self] in
      guard let member = removed.member else { return }
      removedAnswersFor = message.to
      defer { removedAnswersFor = nil }
      try member.input { try? $0.machine.receive(asked) }
    }
  }
}

extension Message.Kind {
  fileprivate var traceName: StaticString {
    switch self {
    case .propose: "propose"
    case .app: "app"
    case .appResp: "appResp"
    case .vote: "vote"
    case .voteResp: "voteResp"
    case .snapshot: "snapshot"
    case .heartbeat: "heartbeat"
    case .heartbeatResp: "heartbeatResp"
    case .transferLeader: "transferLeader"
    case .timeoutNow: "timeoutNow"
    case .readIndex: "readIndex"
    case .readIndexResp: "readIndexResp"
    case .preVote: "preVote"
    case .preVoteResp: "preVoteResp"
    }
  }
}

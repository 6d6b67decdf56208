import Base
import Lease
import Log
import MVCC
import Proto
import Raft
import Replica

// Requests on their way, and what becomes of them.
extension Simulation {
  /// A request whose client waits.
  struct Call {
    var client: SimulatedClient
    var request: ClientRequest
    /// The life of a member that has it; nil while it is on its way.
    var member: SimulatedMember?
    /// Its place in the history; nil when it is not checked there.
    var place: Int?
    /// Changes of the membership up to here were acknowledged when it was sent.
    var membershipFloor: UInt64 = 0
    /// Whether the lease that it renews existed when it was sent.
    var isLeaseKnown = false
  }

  private static let timeoutNanoseconds: UInt64 = 3_000_000_000

  func makeClients() {
    let count = 2 + random.below(4)
    for number in 0..<count {
      switch random.below(5) {
      case 0: clients.append(LeaseClient(number: number))
      case 1: clients.append(LockClient(number: number))
      default: clients.append(RandomClient(number: number))
      }
    }
    // Some of the load is always without a plan.
    clients.append(RandomClient(number: count))
    hasOperator = !random.oneIn(3)
    if hasOperator { clients.append(OperatorClient(number: count + 1)) }
    for client in clients { scheduleNext(client) }
    for _ in 0..<1 + random.below(3) {
      let watcher = WatcherClient(self)
      watchers.append(watcher)
      scheduleStep(watcher)
    }
  }

  private func scheduleNext(_ client: SimulatedClient) {
    later(UInt64(1 + random.below(client.pauseMillisecondsMax)) * 1_000_000) { [unowned self] in
      guard clients.contains(where: { $0 === client }) else { return }
      try issue(client)
    }
  }

  private func scheduleStep(_ watcher: WatcherClient) {
    later(UInt64(100 + random.below(900)) * 1_000_000) { [unowned self] in
      try watcher.step()
      scheduleStep(watcher)
    }
  }

  private var linkDelay: UInt64 { UInt64(50 + random.below(1000)) * 1000 }

  private func issue(_ client: SimulatedClient) throws {
    let request = client.next(self)
    // Who is gone for good is asked by nobody.
    let there = nodes.filter { !$0.isRetired && ($0.lives > 0 || !$0.isJoiner) }
    guard let node = client.target(request, self) ?? there.randomElement(using: &random) else {
      return scheduleNext(client)
    }
    try issue(request, client, to: node)
  }

  func issue(_ request: ClientRequest, _ client: SimulatedClient, to node: SimulatedNode) throws {
    let number = takeCall()
    var call = Call(client: client, request: request)
    if let operation = Self.operation(of: request) {
      call.place = history.count
      history.append(TimedOperation(operation, call: now, end: .max))
    }
    call.membershipFloor = acknowledgedMembership
    if case .membership = request { membershipCalls.append(number) }
    if case .keepAlive(let lease) = request {
      call.isLeaseKnown = oracle.model.leases[lease] != nil
    }
    calls[number] = call
    note("asks", node, number, UInt64(client.number))
    later(linkDelay) { [unowned self] in try arrive(number, at: node) }
    later(Self.timeoutNanoseconds) { [unowned self] in try finish(number, .unknown) }
  }

  private static func operation(of request: ClientRequest) -> KeyValueOperation? {
    switch request {
    case .proposal(_, let known?): KeyValueOperation(request: known)
    case .range(let range, isSerializable: false) where range.revision == 0:
      KeyValueOperation(request: .range(range))
    default: nil
    }
  }

  private func arrive(_ number: UInt64, at node: SimulatedNode) throws {
    guard calls[number] != nil else { return }
    guard let member = node.member else { return try finish(number, .refused) }
    calls[number]?.member = member
    try member.input { [unowned self] member in
      guard let call = calls[number] else { return }
      switch call.request {
      case .proposal(let request, _):
        var batch = ProposalBatch(epoch: member.epoch, capacity: 64)
        request.bytes.withUnsafeBytes {
          batch.append(
            request.operation,
            handle: RequestHandle(loop: 0, call: number),
            request: $0
          )
        }
        member.propose(batch.take(), request.operation, call: number)
      case .range(let range, let isSerializable):
        if isSerializable { return try read(number, range, member) }
        try member.whenLinearizable { [unowned self, unowned member] in
          try read(number, range, member)
        }
      case .keepAlive(let lease):
        try keepAlive(number, lease, member)
      case .membership(let change):
        var batch = ProposalBatch(epoch: member.epoch, capacity: 64)
        batch.append(change, handle: RequestHandle(loop: 0, call: number))
        member.machine.receive(membership: batch.take())
      case .memberList:
        try member.whenLinearizable { [unowned self, unowned member] in
          try listMembers(number, member)
        }
      }
    }
  }

  // MARK: Answers

  /// A member has answered a proposal, whether or not its client still waits.
  func answered(
    _ number: UInt64,
    _ answer: ReplyQueue.Answer,
    by member: SimulatedMember
  ) throws {
    guard let known = oracle.outcomes[number] else {
      guard case .failure(let error) = answer, mayRefuse(number, error)
      else { throw Violation(.answer, "call \(number) is answered and not applied") }
      try oracle.noteRefused(number)
      return reply(number, .refused)
    }
    // Without the request there is no telling what the answer is.
    guard let call = calls[number] else { return }
    let seen: Oracle.Outcome
    switch call.request {
    case .proposal(let request, _):
      seen = try AnswerReader.outcome(answer, request.operation, of: member.node.id)
    case .membership(let change):
      seen = try AnswerReader.outcome(answer, of: change.kind)
      acknowledgedMembership = max(acknowledgedMembership, known.index)
    default: return
    }
    guard seen == known.outcome else {
      throw Violation(.answer, "call \(number), \(call.request) at \(known.index): wrong answer")
    }
    if random.oneIn(24) { try checkDurable(known.index) }
    if let place = call.place { history[place].operation.revision = known.revision }
    reply(number, .outcome(known.outcome))
  }

  /// Whether a call may be refused like this before it got into the log.
  private func mayRefuse(_ number: UInt64, _ error: RequestError) -> Bool {
    if error == .noLeader || error == .tooManyRequests { return true }
    guard case .membership = calls[number]?.request else { return calls[number] == nil }
    return error == .notLeader || error == .learnerNotReady || error == .notEnoughStarted
      || error == .memberNotFound
  }

  /// Lets an answer reach its client.
  func reply(_ number: UInt64, _ answer: ClientAnswer) {
    later(linkDelay) { [unowned self] in try finish(number, answer) }
  }

  /// The client hears, or gives up.
  func finish(_ number: UInt64, _ answer: ClientAnswer) throws {
    guard let call = calls.removeValue(forKey: number) else { return }
    switch answer {
    case .outcome(let outcome):
      count { $0.answers += 1 }
      note("answered", call.member?.node, number)
      if let place = call.place {
        let request = history[place].operation.request
        history[place].operation.outcome = KeyValueModel.comparable(outcome, request)
        history[place].operation.isVoid = history[place].operation.outcome == nil
        history[place].end = now
      }
      if let member = call.member { provenNodes.insert(member.node.number) }
    case .renewed:
      count { $0.renewals += 1 }
    case .refused:
      count { $0.refused += 1 }
      // It never happened.
      if let place = call.place { history[place].operation.isVoid = true }
    case .unknown:
      count { $0.unknown += 1 }
      note("unknown", call.member?.node, number)
      if let place = call.place { history[place].operation.revision = nil }
    }
    if let lock = call.client as? LockClient {
      let before = lock.held
      try lock.receive(answer, self)
      count { $0.locks += lock.held - before }
    } else {
      try call.client.receive(answer, self)
    }
    scheduleNext(call.client)
  }

  /// A member says that a proposal is not done and never will be.
  func notDone(_ number: UInt64, by member: SimulatedMember) throws {
    try oracle.noteRefused(number)
    note("not done", member.node, number)
    guard calls[number] != nil else { return }
    reply(number, .refused)
  }

  // MARK: Reads and renewals

  private func read(
    _ number: UInt64,
    _ range: Etcdserverpb.RangeRequest,
    _ member: SimulatedMember
  ) throws {
    count { $0.reads += 1 }
    let outcome = try member.range(range)
    let revision = member.store.currentRevision.rawValue
    let expected: Oracle.Outcome
    if range.revision > revision {
      expected = .failure(.futureRevision)
    } else if range.revision > 0, range.revision < member.store.compactedRevision.rawValue {
      expected = .failure(.compacted)
    } else {
      expected = .message(oracle.model.range(range, header: revision).encoded())
    }
    guard outcome == expected else {
      throw Violation(.equalState, "m\(member.node.number): a range at \(revision) is wrong")
    }
    if let place = calls[number]?.place { history[place].operation.revision = revision }
    reply(number, .outcome(outcome))
  }

  /// Renewals are the leader's. It makes sure that it still is.
  private func keepAlive(_ number: UInt64, _ lease: Int64, _ member: SimulatedMember) throws {
    let status = member.machine.status
    guard status.role == .leader else {
      guard let leader = nodes.first(where: { $0.id == status.leader }),
        !network.links[member.node.number][leader.number].isCut
      else { return reply(number, .refused) }
      later(linkDelay) { [unowned self] in
        guard let member = leader.member else { return }
        try member.input { [unowned self] member in
          guard member.machine.status.role == .leader else { return reply(number, .refused) }
          try renew(number, lease, member)
        }
      }
      return
    }
    try renew(number, lease, member)
  }

  /// The time of the lease begins when a quorum is asked: when it answers, another may lead already.
  /// An answer that took as long as an election is none.
  private func renew(_ number: UInt64, _ lease: Int64, _ member: SimulatedMember) throws {
    let asked = (clock: member.machine.now, time: now)
    try member.whenLinearizable { [unowned self, unowned member] in
      guard member.machine.now - asked.clock < SimulatedMember.electionNanoseconds else {
        return reply(number, .refused)
      }
      switch member.machine.leases.renew(LeaseID(lease), now: asked.clock) {
      case .renewed(let seconds):
        if let call = calls[number], !call.isLeaseKnown, oracle.model.leases[lease] == nil {
          throw Violation(.lease, "lease \(lease) is renewed and was revoked before")
        }
        note("renews", member.node, UInt64(lease), UInt64(seconds))
        oracle.promise(lease, seconds: seconds, from: asked.time)
        reply(number, .renewed(seconds))
      case .unknown: reply(number, .renewed(0))
      case .notPrimary, .needsCheckpoint: reply(number, .refused)
      }
    }
  }
}

import Base
import Raft

/// A cluster under random faults. One seed decides everything: configuration, workload, and what
/// the network and the disks do. After each event the checker looks for broken promises.
struct Simulation {
  let seed: UInt64
  var random: SplitMix64
  var members: [TestMember] = []
  var network: [Envelope] = []
  var checker = Checker()

  /// The side of a partition that each member is on.
  private var side: [Int]
  private var nextContext: UInt64 = 1
  private var nextPayload: UInt32 = 1
  private var restarts: UInt64 = 0
  private var hasMembershipChanges: Bool

  /// How many percent of the faults that the dice want do happen.
  private var faultPercent: Int

  struct Violation: Error, CustomStringConvertible {
    var description: String
  }

  private static let membersMax = 5
  private static let networkMax = 150

  init(seed: UInt64) throws {
    self.seed = seed
    random = SplitMix64(seed: seed)
    let voters = [1, 2, 3, 3, 3, 4, 5, 5].randomElement(using: &random) ?? 3
    hasMembershipChanges = Bool.random(using: &random)
    faultPercent = [5, 30, 100].randomElement(using: &random) ?? 100
    let count = hasMembershipChanges ? Self.membersMax : voters
    side = Array(repeating: 0, count: count)
    var state = ConfState(voters: (1...voters).map { MemberID(UInt64($0)) })
    if voters < count, Bool.random(using: &random) {
      state.learners = [MemberID(UInt64(voters + 1))]
    }
    let preVote = Bool.random(using: &random)
    let checkQuorum = Bool.random(using: &random)
    for number in 1...count {
      var configuration = RaftConfiguration(id: MemberID(UInt64(number)))
      configuration.preVote = preVote
      configuration.checkQuorum = checkQuorum
      configuration.inflightMessagesMax = Int.random(in: 1...4, using: &random)
      configuration.messageBytesMax = Int.random(in: 1...100, using: &random)
      configuration.uncommittedBytesMax = 2000
      configuration.committedBytesMax = Int.random(in: 1...200, using: &random)
      configuration.readRequestsMax = 20
      var disk = TestDisk()
      disk.machine.confState = state
      members.append(
        try TestMember(configuration: configuration, disk: disk, seed: random.next())
      )
      checker.commitsSeen.append(.zero)
      checker.rolesSeen.append(.follower)
    }
  }

  private mutating func chance(_ percent: Int) -> Bool {
    Int.random(in: 0..<100, using: &random) < percent
  }

  private mutating func anyMember() -> Int { Int.random(in: members.indices, using: &random) }

  mutating func run(events: Int) throws {
    for event in 0..<events {
      try runEvent()
      if event % 50 == 49 { try checker.checkLogs(members) }
    }
    try checker.checkLogs(members)
    try heal()
    try checker.checkLogs(members)
  }

  private mutating func runEvent() throws {
    let at = anyMember()
    let die = Int.random(in: 0..<1000, using: &random)
    if !members[at].isRunning {
      if die < 150 { try restart(at) }
      return
    }
    if die >= 955, die < 990, !chance(faultPercent) { return }
    switch die {
    case 0..<350: try deliverAny()
    case 350..<480: members[at].node.tick()
    case 480..<700: if members[at].node.hasReady { try takeReady(at) }
    case 700..<850: network += members[at].persist(1)
    case 850..<930: propose(at)
    case 930..<955: read(at)
    case 955..<960: members[at].crash()
    case 960..<965: side = side.map { _ in Int.random(in: 0...1, using: &random) }
    case 965..<970: side = side.map { _ in 0 }
    case 970..<980: changeMembership(at)
    case 980..<984: members[at].node.transferLeadership(to: members[anyMember()].node.id)
    case 984..<988: members[at].node.campaign()
    case 988..<990: members[at].node.stepDown()
    case 990..<994: members[at].flushMachine()
    case 994..<998:
      members[at].compact(through: members[at].machine.applied)
    default: members[at].node.reportUnreachable(members[anyMember()].node.id)
    }
    try checker.check(members, at)
  }

  private mutating func restart(_ at: Int) throws {
    restarts += 1
    checker.forgetReads(of: at)
    checker.commitsSeen[at] = .zero
    checker.rolesSeen[at] = .follower
    try members[at].restart(seed: random.next())
  }

  mutating func takeReady(_ at: Int) throws {
    let (ready, sent) = members[at].takeReady()
    network += sent
    for state in ready.readStates { try checker.checkRead(at, state) }
    if members[at].machine.applied > .zero {
      try checker.checkMachine(members[at].machine, of: members[at].node.id)
    }
  }

  private mutating func deliverAny() throws {
    while network.count > Self.networkMax {
      lose(network.remove(at: Int.random(in: network.indices, using: &random)))
    }
    guard !network.isEmpty else { return }
    // Mostly the oldest, sometimes any.
    let choice = chance(70) ? 0 : Int.random(in: network.indices, using: &random)
    let envelope = chance(4) ? network[choice] : network.remove(at: choice)
    let from = Int(envelope.message.from.rawValue) - 1
    let to = Int(envelope.message.to.rawValue) - 1
    if side[from] != side[to] || !members[to].isRunning || chance(faultPercent / 20) {
      lose(envelope)
      return
    }
    try deliver(envelope)
    try checker.check(members, to)
  }

  mutating func deliver(_ envelope: Envelope) throws {
    let to = Int(envelope.message.to.rawValue) - 1
    do { try members[to].receive(envelope) } catch {
      throw Violation(description: "\(error) for \(Describe.message(envelope.message))")
    }
    report(envelope, success: true)
  }

  private mutating func lose(_ envelope: Envelope) { report(envelope, success: false) }

  private mutating func report(_ envelope: Envelope, success: Bool) {
    guard envelope.message.kind == .snapshot else { return }
    let from = Int(envelope.message.from.rawValue) - 1
    if members[from].isRunning {
      members[from].node.reportSnapshot(envelope.message.to, success: success)
    }
  }
}

// The workload
extension Simulation {
  private mutating func propose(_ at: Int) {
    var payloads: [SharedBytes] = []
    for _ in 0..<Int.random(in: 1...3, using: &random) {
      payloads.append(SharedBytes(withUnsafeBytes(of: nextPayload) { Array($0) }))
      nextPayload += 1
    }
    _ = try? members[at].node.propose(payloads)
  }

  private mutating func read(_ at: Int) {
    let context = nextContext
    nextContext += 1
    if (try? members[at].node.requestReadIndex(context)) != nil {
      checker.readsOpen[context] = (at, checker.committed)
    }
  }

  private mutating func changeMembership(_ at: Int) {
    guard hasMembershipChanges else { return }
    let kinds: [ConfChange.Kind] = [.addVoter, .addVoter, .addLearner, .removeNode]
    var change = ConfChange(changes: [])
    for _ in 0..<Int.random(in: 0...3, using: &random) {
      let kind = kinds.randomElement(using: &random) ?? .addVoter
      change.changes.append(.init(kind, members[anyMember()].node.id))
    }
    if !change.changes.isEmpty, chance(30) {
      change.transition = chance(50) ? .jointImplicit : .jointExplicit
    }
    _ = try? members[at].node.propose(change)
  }
}

// After the faults
extension Simulation {
  private static let healTicksMax = 600

  /// Lets the network and all members work again, and expects the cluster to elect a leader, to
  /// commit, and to bring every member to the same state.
  private mutating func heal() throws {
    for envelope in network { lose(envelope) }
    network.removeAll()
    side = side.map { _ in 0 }
    var target: LogIndex?
    for _ in 0..<Self.healTicksMax {
      let (membership, isKnown) = latestMembership()
      for at in members.indices {
        // A removed member stays until it has stepped down and one that stays knows.
        let isWanted =
          !isKnown || membership.contains(members[at].node.id) || members[at].node.role == .leader
        if isWanted, !members[at].isRunning { try restart(at) }
        if !isWanted { members[at].crash() }
        if members[at].isRunning { members[at].node.tick() }
      }
      try settle()
      guard let leader = members.firstIndex(where: { $0.isRunning && $0.node.role == .leader })
      else { continue }
      if let target, target <= members[leader].machine.applied,
        isKnown, membership == latestMembership().members,
        members.allSatisfy({
          !membership.contains($0.node.id) || $0.machine.applied == checker.committed
        })
      {
        return
      }
      if target == nil || members[leader].node.lastIndex < (target ?? .zero) {
        target = try? members[leader].node.propose([SharedBytes(Array("healed".utf8))])
      }
    }
    let states = members.map { ($0.isRunning ? "up " : "down ") + Describe.status($0.node) }
    throw Violation(
      description: "no progress after the faults\n" + states.joined(separator: "\n")
    )
  }

  /// The newest membership that any member has applied, and whether one that is in it has.
  private func latestMembership() -> (members: [MemberID], isKnown: Bool) {
    let latest = members.max { $0.machine.applied < $1.machine.applied }
    guard let state = latest?.machine.confState else { return ([], false) }
    let all = Set(state.voters).union(state.votersOutgoing).union(state.learners).sorted()
    let isKnown = members.contains { all.contains($0.node.id) && $0.machine.confState == state }
    return (all, isKnown)
  }

  private mutating func settle() throws {
    for _ in 0..<400 {
      var isBusy = false
      for at in members.indices where members[at].isRunning {
        if members[at].node.hasReady {
          isBusy = true
          try takeReady(at)
        }
        if !members[at].writing.isEmpty { network += members[at].persist(.max) }
        try checker.check(members, at)
      }
      let messages = network
      network.removeAll()
      for envelope in messages {
        let to = Int(envelope.message.to.rawValue) - 1
        guard members[to].isRunning else {
          lose(envelope)
          continue
        }
        isBusy = true
        try deliver(envelope)
        try checker.check(members, to)
      }
      if !isBusy { return }
    }
  }
}

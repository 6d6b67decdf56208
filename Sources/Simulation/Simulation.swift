import Base
import Log
import Membership
import Raft
import Replica

/// A cluster, its clients, and everything that can go wrong with them, on virtual time and all from
/// one seed.
///
/// First there are faults, then they heal, and everything must come to rest: in the first part
/// nothing wrong may happen, in the second something right must.
package final class Simulation {
  package let seed: UInt64
  let broken: BrokenRule?
  var random: SeededGenerator
  var queue = EventQueue()
  /// True time, in nanoseconds.
  private(set) var now: UInt64 = 0
  package private(set) var trace = Trace()
  package private(set) var counts = Counts()

  let founding: MemberTable
  /// How many entries stay for members that lag; whoever lacks more gets a snapshot.
  let catchUpEntriesMax: UInt64
  /// Whether leaders make voters of learners by themselves.
  let promotesLearners: Bool
  /// Whether members refuse the connections of those that they know to be removed.
  let refusesRemoved: Bool
  /// How many of the oracle's memberships were looked at.
  var membershipsSeen = 1
  /// Whether somebody changes the membership, and what was asked so far.
  var hasOperator = false
  var membershipCalls: [UInt64] = []
  /// The newest change of the membership that a client knows of.
  var acknowledgedMembership: UInt64 = 0
  var nodes: [SimulatedNode] = []
  var network: SimulatedNetwork
  let oracle: Oracle
  var clients: [SimulatedClient] = []
  var watchers: [WatcherClient] = []
  var history: [TimedOperation<KeyValueOperation>] = []
  /// Calls whose clients wait, by number.
  var calls: [UInt64: Call] = [:]
  private var nextCall: UInt64 = 1
  private var nextToken: UInt64 = 1
  private var nextLease: Int64 = 100
  private var leaders: [UInt64: Int] = [:]

  private var eventCount = 0
  /// For `BrokenRule.removedVotes`: for whom a removed member answers just now.
  var removedAnswersFor: MemberID?

  /// Whether faults happen.
  var isFaulty = true
  /// When faults end.
  let healTime: UInt64
  /// Which members have accepted a write since.
  var provenNodes: Set<Int> = []

  package static let tickNanoseconds: UInt64 = 100_000_000
  /// The most that a clock is off, in parts of a thousand.
  static let skewPerMilleMax = 10
  /// Within this long after the faults every member must accept a write.
  static let progressNanosecondsMax: UInt64 = 60_000_000_000
  /// After that, until everything is at rest.
  static let settleNanosecondsMax: UInt64 = 60_000_000_000
  /// A run has no more events than this.
  static let eventsMax = 400_000
  /// Steps of the search for an order of a history's operations.
  static let checkerStepsMax = 400_000

  package init(seed: UInt64, broken: BrokenRule? = nil) throws {
    self.seed = seed
    self.broken = broken
    random = SeededGenerator(seed: seed)
    let count = [1, 3, 3, 3, 3, 5][random.below(6)]
    let text = (0..<count).map { "m\($0)=http://m\($0):2380" }.joined(separator: ",")
    let cluster = try InitialCluster(text)
    founding = try MemberTable(founding: cluster, token: "simulation")
    network = SimulatedNetwork(count: count)
    oracle = try Oracle(founding: founding, skewPerMilleMax: UInt64(2 * Self.skewPerMilleMax))
    catchUpEntriesMax = [4, 16, 64, 100_000][random.below(4)]
    promotesLearners = random.oneIn(3)
    refusesRemoved = !random.oneIn(4)
    healTime = UInt64(5 + random.below(20)) * 1_000_000_000
    counts.members = count
    for number in 0..<count {
      let name = "m\(number)"
      nodes.append(makeNode(name, founding.member(named: name)?.id ?? .none, isJoiner: false))
    }
  }

  /// A machine, the next one.
  func makeNode(_ name: String, _ id: MemberID, isJoiner: Bool) -> SimulatedNode {
    let skew = random.below(2 * Self.skewPerMilleMax + 1) - Self.skewPerMilleMax
    return SimulatedNode(
      number: nodes.count,
      name: name,
      id: id,
      clockPerMille: UInt64(1000 + skew),
      clockOffset: UInt64(random.below(1_000_000_000)),
      isJoiner: isJoiner,
      seed: random.next()
    )
  }

  /// Runs the seed. Throws a `Violation`.
  package func run() throws {
    defer { tearDown() }
    do {
      for node in nodes { try start(node) }
      makeClients()
      scheduleFault()
      scheduleComparison()
      try run(until: healTime)
      try heal()
      try run(until: now + Self.progressNanosecondsMax) {
        self.lostMember == nil
          && self.memberNodes.allSatisfy { self.provenNodes.contains($0.number) }
      }
      try checkProgress()
      clients.removeAll()
      try run(until: now + Self.settleNanosecondsMax) { self.isAtRest }
      try checkEnd()
    } catch let violation as Violation {
      throw violation
    } catch {
      throw Violation(.unexpected, "\(error)")
    }
    counts.virtualSeconds = Int(now / 1_000_000_000)
    counts.events = watchers.reduce(0) { $0 + $1.received }
    counts.expiries = oracle.expiries.count
    counts.elections = leaders.count
  }

  /// Machines, members and clients know each other: none would ever leave memory by itself.
  private func tearDown() {
    queue = EventQueue()
    calls.removeAll()
    clients.removeAll()
    for watcher in watchers { watcher.tearDown() }
    for node in nodes {
      node.deferred.removeAll()
      node.member?.tearDown()
      node.member = nil
    }
  }

  /// Lets happen what is due until a time, or until `isDone`, which is looked at now and then.
  private func run(until end: UInt64, _ isDone: () -> Bool = { false }) throws {
    var count = 0
    while now < end {
      guard let next = queue.take() else { return }
      now = max(now, next.time)
      oracle.now = now
      try next.action()
      count += 1
      eventCount += 1
      if eventCount > Self.eventsMax {
        throw Violation(.progress, "\(eventCount) events: something goes round and round")
      }
      if count % 32 == 0, isDone() { return }
    }
  }

  func later(_ nanoseconds: UInt64, _ body: @escaping EventQueue.Action) {
    queue.add(at: now + nanoseconds, body)
  }

  func note(
    _ kind: StaticString,
    _ node: SimulatedNode?,
    _ first: UInt64 = 0,
    _ second: UInt64 = 0,
    to target: SimulatedNode? = nil,
    isWorthKeeping: Bool = true
  ) {
    trace.note(
      .init(
        time: now,
        node: node?.number ?? -1,
        target: target?.number,
        kind: kind,
        first: first,
        second: second,
        isWorthKeeping: isWorthKeeping
      )
    )
  }

  func takeToken() -> UInt64 {
    nextToken += 1
    return nextToken
  }

  func takeCall() -> UInt64 {
    nextCall += 1
    return nextCall
  }

  func takeLease() -> Int64 {
    nextLease += 1
    return nextLease
  }

  func count(_ change: (inout Counts) -> Void) { change(&counts) }

  func randomMember() -> SimulatedMember? { nodes[random.below(nodes.count)].member }

  /// A term has one leader.
  func noteRole(_ status: ReplicaStatus, of node: SimulatedNode) throws {
    guard status.role == .leader else { return }
    let term = status.term.rawValue
    if let known = leaders[term] {
      guard known == node.number else {
        throw Violation(.oneLeader, "m\(known) and m\(node.number) lead term \(term)")
      }
    } else {
      leaders[term] = node.number
      note("leads", node, term, status.lastIndex.rawValue)
    }
  }

  var leader: SimulatedNode? {
    nodes.filter { $0.member?.machine.status.role == .leader }
      .max { left, right in
        (left.member?.machine.status.term ?? .zero) < (right.member?.machine.status.term ?? .zero)
      }
  }
}

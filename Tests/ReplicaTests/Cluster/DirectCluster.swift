import Base
import Lease
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// Several replicas whose messages and disks do what the test says. One tick is a tenth of a second.
final class DirectCluster {
  /// One member: its replica, what its disk has not done, and what it answered.
  final class Node {
    let machine: ReplicaMachine
    let store: Store
    let epoch: UInt64
    /// Writes that hang.
    var hasHungDisk = false
    var undurable: [UInt64] = []
    var answers: [(call: UInt64, error: RequestError?)] = []
    var readyReads: [UInt64] = []
    var lostReads: [UInt64] = []
    var notDone: [ProposalBlockName] = []
    var nextSequence: UInt64 = 0

    init(machine: ReplicaMachine, store: Store, epoch: UInt64) {
      self.machine = machine
      self.store = store
      self.epoch = epoch
    }
  }

  let ids: [MemberID]
  let nodes: [Node]
  /// Messages under way.
  var wires: [Raft.Message] = []
  /// What is not delivered.
  var isLost: (Raft.Message) -> Bool = { _ in false }
  private(set) var now: UInt64 = 1_000_000_000

  static let tickNanoseconds: UInt64 = 100_000_000

  init(
    memberCount: Int = 3,
    _ configure: (inout ReplicaConfiguration) -> Void = { _ in }
  ) throws {
    let peers = (0..<memberCount).map { "m\($0)=http://localhost:\(2400 + $0)" }
    let members = try MemberTable(
      founding: InitialCluster(peers.joined(separator: ",")),
      token: "test"
    )
    ids = (0..<memberCount).compactMap { members.member(named: "m\($0)")?.id }
    let stored = StoredMetadata(founding: members)
    nodes = try ids.enumerated().map { place, id in
      var configuration = ReplicaConfiguration(
        memberID: id,
        epoch: UInt64(100 + place),
        loopCount: 1,
        name: "m\(place)",
        clientURLs: ["http://localhost:\(2300 + place)"]
      )
      configuration.leaseExtensionNanoseconds = 10 * Self.tickNanoseconds
      configure(&configuration)
      let leases = LeaseRegistry()
      let store = try Store(
        storage: TieredStorage(over: MemoryStorage(disk: MemoryDisk())),
        leases: leases
      )
      var restored = RestoredState()
      restored.confState = stored.applied.confState
      let machine = try ReplicaMachine(
        configuration,
        store: store,
        tables: ReplicatedTables(members: members, leases: leases),
        restored: restored,
        appliedTerm: .zero,
        seed: UInt64(place + 1)
      )
      return Node(machine: machine, store: store, epoch: configuration.epoch)
    }
    setClocks()
  }

  private func setClocks() {
    for node in nodes { node.machine.now = now }
  }

  /// One turn of a node; its messages go on the wires.
  func turn(_ node: Node) {
    node.machine.proposeExpiry()
    let output = node.machine.turn()
    node.undurable += output.writes.map(\.sequence)
    wires += output.messages.filter { !isLost($0) }
    node.readyReads += output.readyReads
    node.lostReads += output.lostReads
    node.notDone += output.proposalsNotDone
    for queue in node.machine.replies where !queue.isEmpty {
      ReplyQueue.forEachAnswer(in: queue.take()) { call, answer in
        if case .failure(let error) = answer {
          node.answers.append((call, error))
        } else {
          node.answers.append((call, nil))
        }
      }
    }
  }

  /// Makes a node's writes durable, unless its disk hangs.
  func sync(_ node: Node) {
    guard !node.hasHungDisk, let last = node.undurable.last else { return }
    node.undurable = []
    node.machine.persisted(through: last)
  }

  /// Turns, disks and deliveries until nothing happens any more.
  func settle() {
    var isQuiet = false
    while !isQuiet {
      for node in nodes { turn(node) }
      isQuiet = wires.isEmpty && nodes.allSatisfy { $0.undurable.isEmpty || $0.hasHungDisk }
      for node in nodes { sync(node) }
      deliver()
    }
  }

  /// Delivers what is on the wires.
  func deliver() {
    let messages = wires
    wires = []
    for message in messages {
      guard let place = ids.firstIndex(of: message.to) else { continue }
      // A refused message is the sender's matter.
      try? nodes[place].machine.receive(message)
    }
  }

  /// Lets time pass for all, or for some.
  func pass(ticks: Int, only some: [Node]? = nil) {
    for _ in 0..<ticks {
      now += Self.tickNanoseconds
      setClocks()
      for node in some ?? nodes { node.machine.tick() }
      settle()
    }
  }

  /// Cuts one member off, both ways; nil: nobody.
  func cutOff(_ node: Node?) {
    let id = node.flatMap { node in nodes.firstIndex { $0 === node }.map { ids[$0] } }
    isLost = { $0.from == id || $0.to == id }
    wires.removeAll(where: isLost)
  }

  /// The member that leads the newest term, if one does.
  var leader: Node? {
    nodes.filter { $0.machine.status.role == .leader }
      .max { $0.machine.status.term < $1.machine.status.term }
  }

  func id(of node: Node) -> MemberID? {
    nodes.firstIndex { $0 === node }.map { ids[$0] }
  }

  var followers: [Node] { nodes.filter { $0 !== leader } }

  /// Time until somebody leads, other than `old`, and a majority knows.
  func elect(after old: Node? = nil) throws -> Node {
    for _ in 0..<100 {
      pass(ticks: 1)
      if let leader, leader !== old, let id = id(of: leader),
        nodes.count(where: { $0.machine.status.leader == id }) > nodes.count / 2
      {
        return leader
      }
    }
    throw NoLeader()
  }

  struct NoLeader: Error {}

  @discardableResult
  func propose(
    _ operation: ReplicatedOperation,
    _ request: some Proto.Message,
    call: UInt64,
    at node: Node
  ) -> ProposalBlockName {
    var batch = ProposalBatch(epoch: node.epoch)
    request.encoded().withUnsafeBytes {
      batch.append(operation, handle: RequestHandle(loop: 0, call: call), request: $0)
    }
    node.nextSequence += 1
    let name = ProposalBlockName(loop: 0, sequence: node.nextSequence)
    node.machine.receive(proposals: batch.take(), named: name)
    return name
  }

  @discardableResult
  func put(_ key: String, call: UInt64, at node: Node) -> ProposalBlockName {
    propose(
      .put,
      Etcdserverpb.PutRequest(key: Array(key.utf8), value: [1]),
      call: call,
      at: node
    )
  }
}

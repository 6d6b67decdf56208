import Base
import Lease
import Log
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage
import Watch

/// One life of a member: from the opening of its files to a crash. What threads do in a real one are
/// events here, which the simulation lets happen in some order.
final class SimulatedMember {
  static let directory = "log"
  /// As small as can be, so that segments are sealed, released and used again all the time.
  static let logConfiguration = LogConfiguration(
    segmentBytesMax: 8 << 10,
    firstSegmentBytes: 8 << 10,
    spareBytesMax: 8 << 10,
    readBlockBytes: 8 << 10
  )

  unowned let simulation: Simulation
  let node: SimulatedNode
  let storage: SimulatedStorage
  let store: Store
  let reader: StoreReader
  let log: SegmentedLog<SimulatedFileSystem>
  let machine: ReplicaMachine
  let watches: SimulatedWatches
  let epoch: UInt64
  let broken: BrokenRule?
  /// How far the store was when it was opened.
  let restoredIndex: LogIndex

  // The log writer's.
  var undurable: [ReplicaOutput.Write] = []
  var appendedCount = 0
  var release: SnapshotMark?
  /// The one that goes with the write under way.
  var releaseUnderWay: SnapshotMark?
  var isStalled = false
  /// Whether a sync, or a wait for the disk, is under way.
  var isWriting = false

  // The housekeeper's.
  var flush: ReplicaOutput.Flush?
  var isCompacting = false

  // Snapshots.
  var wantedSnapshots: [Raft.Message] = []
  var isSendingSnapshot = false
  var isReceivingSnapshot = false
  /// For `BrokenRule.snapshotStale`.
  var earlierCopy: MemoryDisk.Content?

  /// Proposals without an answer.
  private var proposed: [Proposed] = []
  private var nextSequence: UInt64 = 1

  /// Linearizable reads that wait, by context.
  var reads: [UInt64: () throws -> Void] = [:]
  private var nextContext: UInt64 = 1
  private var revisionMax: Int64 = 0
  /// What was last found to be as the oracle has it.
  private var checkedMembers = (place: -1, version: -1, state: ConfState())

  /// Opens the machine's files as `OpenedMember` does. `origin` is what a machine without data
  /// starts from. Throws `Removed` when the data says that the member was removed.
  init(
    _ simulation: Simulation,
    _ node: SimulatedNode,
    origin: StoredMetadata,
    seed: UInt64
  ) throws {
    self.simulation = simulation
    self.node = node
    epoch = UInt64(node.number) << 32 | UInt64(node.lives)
    broken = simulation.broken
    storage = SimulatedStorage(node.disk, broken)
    let tiered = TieredStorage(over: storage)
    let leases = LeaseRegistry()
    try leases.restore(from: tiered)
    store = try Store(storage: tiered, leases: leases)
    reader = store.makeReader()
    var recovered: RecoveredLog
    (log, recovered) = try SegmentedLog.open(
      directory: Self.directory,
      files: node.files,
      configuration: Self.logConfiguration,
      metadata: LogMetadata(clusterID: simulation.founding.clusterID, memberID: node.id)
    )
    if broken == .lostVote { recovered.hardState?.vote = .none }
    let stored = try Self.stored(storage, isLogNew: recovered.isNew, origin, broken)
    guard !stored.members.isRemoved(node.id) else { throw Removed() }
    restoredIndex = stored.applied.index
    var (restored, cutsLog) = try Recovery.restore(
      log: recovered,
      applied: stored.applied,
      installed: try storage.metadata(StoredMetadata.installKey).map { try LogMark(decoding: $0) }
    )
    if cutsLog {
      try log.append(Recovery.logCut(restored, applied: stored.applied))
      try log.sync()
      simulation.note("tells its log of the snapshot", node, restoredIndex.rawValue)
    }
    if broken == .membershipForgotten, !restored.awaitsSnapshot {
      restored.confState = ConfState(voters: simulation.founding.voters.map(\.id))
    }
    machine = try ReplicaMachine(
      Self.configuration(simulation, node, epoch: epoch),
      store: store,
      tables: ReplicatedTables(reading: storage, members: stored.members, leases: leases),
      restored: restored,
      appliedTerm: stored.applied.term,
      seed: seed
    )
    watches = SimulatedWatches(simulation, node, store: store, seed: seed)
    removeLeftovers()
    let oracle = simulation.oracle
    machine.willApply = { oracle.note($0) }
  }

  /// The member's own data says that it was removed.
  struct Removed: Error {}

  private static func stored(
    _ storage: SimulatedStorage,
    isLogNew: Bool,
    _ origin: StoredMetadata,
    _ broken: BrokenRule?
  ) throws -> StoredMetadata {
    if let stored = try StoredMetadata({ try storage.metadata($0) }) {
      guard !isLogNew else { throw Violation(.damage, "a log is gone") }
      return stored
    }
    // Broken flushes are without a mark.
    guard isLogNew || broken != nil else { throw Violation(.damage, "a store is gone") }
    try storage.found(origin)
    return origin
  }

  /// As long as an election takes.
  static let electionNanoseconds =
    UInt64(RaftConfiguration(id: .none).electionTimeoutTicks) * Simulation.tickNanoseconds

  private static func configuration(
    _ simulation: Simulation,
    _ node: SimulatedNode,
    epoch: UInt64
  ) -> ReplicaConfiguration {
    var configuration = ReplicaConfiguration(
      memberID: node.id,
      epoch: epoch,
      loopCount: 1,
      name: node.name,
      clientURLs: ["http://\(node.name):2379"]
    )
    configuration.memtableBytesMax = 2 << 10
    configuration.storageBacklogBytesMax = 6 << 10
    configuration.unappliedBytesMax = 16 << 10
    configuration.unstoredLeasesMax = 6
    configuration.leaseExtensionNanoseconds = electionNanoseconds
    configuration.ticksPerSecond = Int(1_000_000_000 / Simulation.tickNanoseconds)
    configuration.catchUpEntriesMax = simulation.catchUpEntriesMax
    configuration.snapshotHoldBytesMax = 32 << 10
    configuration.promotesLearners = simulation.promotesLearners
    configuration.raft.messageBytesMax = 4 << 10
    return configuration
  }

  // MARK: Turns

  /// Whether this is still the life that runs on its machine.
  var isAlive: Bool { node.member === self }

  /// Gives the member an input, unless it has ended: now, or when its pause is over.
  func input(_ body: @escaping (SimulatedMember) throws -> Void) throws {
    guard isAlive else { return }
    if node.isPaused {
      if node.deferred.count < SimulatedNode.deferredMax {
        node.deferred.append { [unowned self] in try self.input(body) }
      }
      return
    }
    setClock()
    try body(self)
    if isAlive { try turn() }
  }

  /// Lets go of what holds this life in memory, once it is over.
  func tearDown() {
    watches.tearDown()
    reads.removeAll()
    machine.willApply = nil
  }

  func setClock() {
    var now = node.clock(at: simulation.now)
    // Three times as fast.
    if broken == .leaseEarly { now += 2 * simulation.now }
    machine.now = max(machine.now, now)
  }

  /// Takes a turn and lets what it asks for happen.
  private func turn() throws {
    machine.proposeExpiry()
    let output = machine.turn()
    if let failure = simulation.oracle.failure { throw failure }
    if output.failure != nil {
      // Its state is neither the old nor the new one: only the disk has one.
      return simulation.stop(node, isPowerLost: false, restartAfter: 500_000_000)
    }
    undurable += output.writes
    if let mark = output.release { release = mark.snapshotMark }
    if let work = output.flush { start(work) }
    if output.hasCompaction { startCompaction() }
    write()
    for message in output.messages {
      if message.kind == .snapshot {
        wantSnapshot(message)
      } else {
        try simulation.send(message, from: self)
      }
    }
    for block in output.events { try watches.deliver(block) }
    if let mark = output.installed { noteInstalled(mark) }
    try checkState()
    for context in output.readyReads { try reads.removeValue(forKey: context)?() }
    for context in output.lostReads {
      if let read = reads.removeValue(forKey: context) { later(10_000_000) { $0.ask(read) } }
    }
    for queue in machine.replies where !queue.isEmpty {
      var failure: (any Error)?
      ReplyQueue.forEachAnswer(in: queue.take()) { call, answer in
        do {
          proposed.removeAll { $0.call == call }
          try simulation.answered(call, answer, by: self)
        } catch {
          failure = failure ?? error
        }
      }
      if let failure { throw failure }
    }
    simulation.startJoiners()
    // After the answers, as the thread of a real member has it.
    for name in output.proposalsNotDone { try takeProposed(through: name.sequence, isDone: false) }
    for name in output.proposalsUnknown { try takeProposed(through: name.sequence, isDone: nil) }
    breakRule()
    try stopIfRemoved()
  }

  private struct Proposed {
    var call: UInt64
    var operation: ReplicatedOperation
    /// The name of its block.
    var sequence: UInt64
  }

  func propose(_ block: ByteBlock, _ operation: ReplicatedOperation, call: UInt64) {
    proposed.append(Proposed(call: call, operation: operation, sequence: nextSequence))
    machine.receive(
      proposals: block,
      named: ProposalBlockName(loop: 0, sequence: nextSequence)
    )
    nextSequence += 1
  }

  /// What is proposed up to a block and has no answer is not done, or nobody knows. The answer to a
  /// compaction may come long after it is done, so of that nothing is known.
  private func takeProposed(through sequence: UInt64, isDone: Bool?) throws {
    let taken = proposed.filter { $0.sequence <= sequence }
    proposed.removeAll { $0.sequence <= sequence }
    for proposal in taken where isDone == false && proposal.operation != .compaction {
      try simulation.notDone(proposal.call, by: self)
    }
  }

  /// The state must be that of the applied entries, whoever applied them.
  private func checkState() throws {
    let status = machine.status
    let applied = status.applied.rawValue
    let oracle = simulation.oracle
    guard applied <= oracle.applied else {
      throw Violation(.replay, "\(applied) is applied, beyond \(oracle.applied)")
    }
    guard store.stateHash == oracle.hashes[Int(applied)] else {
      throw Violation(.equalState, "m\(node.number)'s state at \(applied) is not that of others")
    }
    let revision = store.currentRevision.rawValue
    guard revision >= revisionMax else {
      throw Violation(.revisionFalls, "m\(node.number): \(revision) after \(revisionMax)")
    }
    revisionMax = revision
    try simulation.noteRole(status, of: node)
    // Somebody who joins has been told who is there, and knows it when its snapshot has come.
    guard status.applied > .zero || !node.isJoiner else { return }
    try oracle.check(machine.stateHash, of: node.name)
    try checkMembers(at: applied)
  }

  private func checkMembers(at applied: UInt64) throws {
    let place = simulation.oracle.place(at: applied)
    let version = machine.membersVersion
    let state = machine.confState
    guard
      checkedMembers.place != place || checkedMembers.version != version
        || checkedMembers.state != state
    else { return }
    let membership = simulation.oracle.memberships[place].model
    guard membership.matches(machine.members), membership.voters == state.voters,
      membership.learners == state.learners, state.votersOutgoing.isEmpty
    else {
      throw Violation(
        .membership,
        "m\(node.number) at \(applied) takes \(state.voters) and \(state.learners) for the members"
      )
    }
    checkedMembers = (place, version, state)
  }

  /// How long a removed member stays for others to hear of it, as in a real one.
  private static let removalTicks = 10
  private static let removalTicksMax = 100

  private func stopIfRemoved() throws {
    let ticks = machine.ticksSinceRemoval
    guard ticks >= Self.removalTicks, broken != .removedVotes else { return }
    if machine.status.role != .leader || ticks >= Self.removalTicksMax {
      simulation.retire(node)
    }
  }

  /// Peers that know of the removal refuse the connections of a removed member and tell it.
  private func hearOfRemoval() {
    guard simulation.refusesRemoved, broken != .removedVotes,
      let peer = simulation.nodes.randomElement(using: &simulation.random), peer !== node,
      let other = peer.member, !peer.isPaused,
      !simulation.network.links[node.number][peer.number].isCut,
      !simulation.network.links[peer.number][node.number].isCut,
      other.machine.members.isRemoved(node.id)
    else { return }
    simulation.retire(node)
  }

  /// Lets something happen to this life in so many nanoseconds.
  func later(_ nanoseconds: UInt64, _ body: @escaping (SimulatedMember) throws -> Void) {
    simulation.queue.add(at: simulation.now + nanoseconds) { [weak self] in
      try self?.input(body)
    }
  }

  func tick() {
    later(node.trueSpan(Simulation.tickNanoseconds)) { member in
      member.machine.tick()
      member.tick()
      member.hearOfRemoval()
    }
  }

  // MARK: Reads

  /// Calls `body` when a read is linearizable.
  func whenLinearizable(_ body: @escaping () throws -> Void) throws {
    // A lone member knows what it acknowledged.
    if machine.status.readsAreLocal || broken == .staleRead { return try body() }
    ask(body)
  }

  private func ask(_ body: @escaping () throws -> Void) {
    let context = nextContext
    nextContext += 1
    guard machine.requestRead(context) else {
      // There is no leader now.
      return later(50_000_000) { $0.ask(body) }
    }
    reads[context] = body
  }

  private func breakRule() {
    guard broken == .releaseTooEarly, machine.isAlone, !isStalled, !isWriting,
      let term = simulation.oracle.term(at: machine.status.applied), term > .zero
    else { return }
    release = SnapshotMark(
      index: machine.status.applied,
      term: term,
      confState: SharedBytes(Raftpb.ConfState(ConfState(voters: [node.id])).encoded())
    )
    write()
  }
}

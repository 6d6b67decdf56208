import Base
import Log
import Logging
import MVCC
import Membership
import Raft
import Replica
import Storage

/// The thread that owns the replica: it takes all that waits in one turn, carries out what the
/// turn asks for, and sleeps until there is more or a tick is due.
final class ReplicaThread: Sendable {
  enum Input: Sendable {
    case proposals(ByteBlock, ProposalBlockName)
    /// What the member itself proposes: it goes before what clients ask for.
    case ownProposals(ByteBlock)
    /// Changes of the membership: a block of `MembershipChange`s.
    case membership(ByteBlock)
    /// Makes a learner a voter; calls back with why not, or with nil once that is proposed.
    case promotion(MemberID, @Sendable (RequestError?) -> Void)
    /// The newest version that all members understand.
    case agreedVersion(String)
    /// A linearizable read of the event loop that the context names.
    case read(context: UInt64)
    /// Calls back, on the replica's thread, with whether everything that was acknowledged before, by
    /// any member, is applied here.
    case whenCurrent(@Sendable (_ isCurrent: Bool) -> Void)
    /// Hands leadership to a member, or to whom it suits, and calls back, on the replica's thread,
    /// once that is done or given up: after so long without any leader, too.
    case transferLeadership(
      MemberID?,
      patienceNanoseconds: UInt64,
      @Sendable (LeadershipTransfer.Outcome) -> Void
    )
    case log(LogWriter.Report)
    case housekeeper(Housekeeper.Report)
    /// What a peer sent, and its weight.
    case peerMessages([Raft.Message], bytes: Int)
    /// What was sent to the peer may be lost.
    case unreachable(MemberID)
    /// A new stream to the peer stands.
    case connected(MemberID)
    /// The snapshot that Raft wanted the member to get was delivered, or was not.
    case snapshotSent(MemberID, isDelivered: Bool)
    /// Flush whatever is in memory, and call back, on the housekeeper's thread, once nothing of it
    /// is left there.
    case flushAll(@Sendable (Result<Void, FlushError>) -> Void)
    /// The leader's snapshot, received and read, and what the leader said of it. Called back with
    /// whether it is going to be installed; the file is the sender's to remove if not.
    case snapshot(ReceivedSnapshot, Raft.Message, @Sendable (Bool) -> Void)
    /// Looks at the replica between two turns; there is none when it has stopped.
    case look(@Sendable (ReplicaMachine?) -> Void)
    case stop
  }

  /// What happens on the replica's thread and is counted elsewhere.
  enum Note: Sendable {
    /// A leader's heartbeats left later than they should have, by so much.
    case lateHeartbeats(nanoseconds: UInt64)
    /// A snapshot of the leader is going to be installed, and was.
    case snapshotTaken
    case snapshotInstalled
    /// A learner became a voter while this member led.
    case learnerPromoted
  }

  /// Where answers go: one per event loop. Called on the replica's thread.
  struct Outlets: Sendable {
    var answers: @Sendable (_ loop: Int, ByteBlock) -> Void
    /// Events of what was applied, before the answers to it.
    var events: @Sendable (EventBlock) -> Void
    /// A snapshot took the place of the store's content, and of the events that led to it.
    var installed: @Sendable () -> Void
    var reads: @Sendable (_ ready: [UInt64], _ lost: [UInt64]) -> Void
    /// What became of proposals without an answer; after the answers of the same turn.
    var proposals:
      @Sendable (_ notDone: [ProposalBlockName], _ unknown: [ProposalBlockName]) -> Void
    /// Messages to peers.
    var messages: @Sendable ([Raft.Message]) -> Void
    /// Messages of peers of that weight were taken.
    var tookMessages: @Sendable (_ bytes: Int) -> Void
    /// The members, at the start and when they change.
    var members: @Sendable (MemberTable) -> Void
    /// What the metrics count.
    var noted: @Sendable (Note) -> Void
    /// The member cannot go on; the text says why.
    var fatal: @Sendable (String) -> Void
  }

  private let mailbox: Mailbox<Input>
  private let thread: WorkerThread

  /// Takes what is posted to `mailbox`, also what was before.
  init(
    _ mailbox: Mailbox<Input>,
    machine: ReplicaMachine,
    tickNanoseconds: UInt64,
    status: PublishedStatus,
    gate: AdmissionGate,
    logger: Logger,
    outlets: Outlets,
    makeLogWriter: (@escaping @Sendable (LogWriter.Report) -> Void) -> LogWriter,
    makeHousekeeper: (@escaping @Sendable (Housekeeper.Report) -> Void) -> Housekeeper
  ) {
    self.mailbox = mailbox
    let loop = ReplicaLoop(
      machine: machine,
      tickNanoseconds: tickNanoseconds,
      status: status,
      gate: gate,
      logger: logger,
      outlets: outlets,
      logWriter: makeLogWriter { mailbox.post(.log($0)) },
      housekeeper: makeHousekeeper { mailbox.post(.housekeeper($0)) }
    )
    thread = WorkerThread(name: "martlet-replica") {
      loop.run(mailbox)
    }
  }

  /// Returns false when the replica has stopped.
  @discardableResult
  func post(_ input: Input) -> Bool {
    mailbox.post(input)
  }

  /// Finishes what was posted, stops the log writer, and ends the thread. Posts are refused from
  /// then on.
  func stop() {
    mailbox.post(.stop)
    thread.join()
    mailbox.close()
    var rest: [Input] = []
    mailbox.takeAll(into: &rest)
    for input in rest { Self.refuse(input) }
  }

  /// Nobody may wait for an answer to what came too late.
  private static func refuse(_ input: Input) {
    switch input {
    case .snapshot(_, _, let completion): completion(false)
    case .look(let body): body(nil)
    case .flushAll(let completion): completion(.failure(.stopped))
    default: break
    }
  }
}

/// The body of the replica's thread.
private final class ReplicaLoop: @unchecked Sendable {
  // Used on the replica's thread only.
  private let machine: ReplicaMachine
  private let tickNanoseconds: UInt64
  private let status: PublishedStatus
  private let gate: AdmissionGate
  private let logger: Logger
  private let outlets: ReplicaThread.Outlets
  private let logWriter: LogWriter
  private let housekeeper: Housekeeper
  private var publishedMembersVersion = -1
  private var publishedAlarmsVersion = -1
  private var publishedDowngradeVersion = -1
  private var lastStatus = ReplicaStatus()
  private var flushWaiters: [@Sendable (Result<Void, FlushError>) -> Void] = []
  private var notDone: [ProposalBlockName] = []
  private var unknown: [ProposalBlockName] = []
  private var currency = CurrencyWaiters()
  private var transfers = TransferWaiters()
  private var isStopping = false
  private let refusedMessages = LogRate(burst: 5, perSecond: 1)
  private let lateHeartbeats = LogRate(burst: 5, perSecond: 1)

  init(
    machine: ReplicaMachine,
    tickNanoseconds: UInt64,
    status: PublishedStatus,
    gate: AdmissionGate,
    logger: Logger,
    outlets: ReplicaThread.Outlets,
    logWriter: LogWriter,
    housekeeper: Housekeeper
  ) {
    self.machine = machine
    self.tickNanoseconds = tickNanoseconds
    self.status = status
    self.gate = gate
    self.logger = logger
    self.outlets = outlets
    self.logWriter = logWriter
    self.housekeeper = housekeeper
  }

  func run(_ mailbox: Mailbox<ReplicaThread.Input>) {
    var inputs: [ReplicaThread.Input] = []
    var nextTick = MonotonicTime.now.advanced(byNanoseconds: tickNanoseconds)
    machine.now = MonotonicTime.now.nanoseconds
    takeTurn()
    while !isStopping {
      // Leases that have expired are ended batch by batch, with what came in between them.
      let deadline = machine.hasExpiryToPropose ? MonotonicTime(nanoseconds: 0) : nextTick
      mailbox.takeAll(into: &inputs, until: deadline)
      let now = MonotonicTime.now
      machine.now = now.nanoseconds
      for input in inputs { receive(input) }
      if now >= nextTick {
        // Time that the thread did not run (a paused process) is one tick, not many: a member
        // that was away must hear the others before it campaigns.
        noteLateness(now.nanoseconds(since: nextTick))
        machine.tick()
        stopIfRemoved()
        nextTick = now.advanced(byNanoseconds: tickNanoseconds)
      } else {
        machine.proposeExpiry()
      }
      takeTurn()
    }
    currency.endAll()
    transfers.endAll()
    logWriter.stop()
    housekeeper.stop()
  }

  /// A leader whose ticks come a whole interval late, as etcd counts it, says so.
  private func noteLateness(_ nanoseconds: UInt64) {
    guard nanoseconds > tickNanoseconds, machine.status.role == .leader, !machine.isAlone else {
      return
    }
    outlets.noted(.lateHeartbeats(nanoseconds: nanoseconds))
    guard let leftOut = lateHeartbeats.admit() else { return }
    logger.warning(
      "heartbeats left late: the machine or the disk is overloaded, or the process was paused",
      metadata: [
        "lateMilliseconds": "\(nanoseconds / 1_000_000)",
        "intervalMilliseconds": "\(tickNanoseconds / 1_000_000)", "leftOut": "\(leftOut)",
      ]
    )
  }

  private func receive(_ input: ReplicaThread.Input) {
    switch input {
    case .proposals(let block, let name):
      gate.left(block.count)
      machine.receive(proposals: block, named: name)
    case .ownProposals(let block):
      machine.receive(proposals: block, isUrgent: true)
    case .membership(let block):
      machine.receive(membership: block)
    case .promotion(let learner, let completion):
      do throws(RequestError) {
        try machine.proposePromotion(of: learner)
        completion(nil)
      } catch {
        completion(error)
      }
    case .agreedVersion(let version):
      machine.agreedVersion = version
    case .read(let context):
      if !machine.requestRead(context) { outlets.reads([], [context]) }
    case .whenCurrent(let body):
      currency.add(body)
    case .transferLeadership(let target, let patience, let body):
      transfers.begin(machine, to: target, patienceNanoseconds: patience, body)
    case .log(let report):
      receive(report)
    case .housekeeper(let report):
      receive(report)
    case .peerMessages(let messages, let bytes):
      for message in messages { receive(message) }
      outlets.tookMessages(bytes)
    case .unreachable(let peer):
      machine.peerUnreachable(peer)
    case .connected(let peer):
      machine.peerConnected(peer)
    case .snapshotSent(let peer, let isDelivered):
      machine.reportSnapshot(peer, success: isDelivered)
    case .snapshot(let snapshot, let message, let completion):
      let isTaken = (try? machine.receive(snapshot, by: message)) ?? false
      if isTaken { outlets.noted(.snapshotTaken) }
      completion(isTaken)
    case .look(let body):
      body(machine)
    case .flushAll(let completion):
      flushWaiters.append(completion)
    case .stop:
      isStopping = true
    }
  }

  private func receive(_ message: Raft.Message) {
    let from = message.from
    do throws(RaftError) {
      try machine.receive(message)
    } catch {
      guard let leftOut = refusedMessages.admit() else { return }
      logger.warning(
        "a message of a peer is refused",
        metadata: ["peer": "\(from)", "cause": "\(error)", "leftOut": "\(leftOut)"]
      )
    }
  }

  /// So long does a removed member stay for others to hear of it, in ticks.
  private static let removalTicks = 10
  private static let removalTicksMax = 100

  private func stopIfRemoved() {
    let ticks = machine.ticksSinceRemoval
    guard ticks >= Self.removalTicks else { return }
    let mayGo = machine.status.role != .leader || ticks >= Self.removalTicksMax
    if mayGo { outlets.fatal("\(StartError.removed)") }
  }

  private func receive(_ report: LogWriter.Report) {
    switch report {
    case .persisted(let sequence):
      machine.persisted(through: sequence)
    case .stalled(let error):
      logger.error(
        "the log cannot be written: nothing is acknowledged until it can",
        metadata: ["cause": "\(error)"]
      )
      machine.logFailed()
    case .recovered:
      logger.notice("the log can be written again")
    }
  }

  private func receive(_ report: Housekeeper.Report) {
    switch report {
    case .flushed(let mark):
      machine.flushed(to: mark)
    case .flushFailed(let error):
      logger.error("a flush failed and will be tried again", metadata: ["cause": "\(error)"])
      if case .corrupt = error { outlets.fatal("\(error)") }
      completeFlushes(.failure(.storage(error)))
    case .compacted(let revision):
      // At the start there is a look at whether an earlier life left work; often there was none.
      if revision.rawValue > 0 {
        logger.info("compacted", metadata: ["revision": "\(revision)"])
      }
      machine.compacted(to: revision)
    case .compactionFailed(let error):
      logger.error("a compaction failed and goes on later", metadata: ["cause": "\(error)"])
    }
  }

  private func log(_ corruption: ReplicaOutput.Corruption) {
    var metadata = corruption.report?.logMetadata ?? [:]
    metadata["entry"] = "\(corruption.entry)"
    metadata["member"] = "\(corruption.member)"
    logger.critical(
      corruption.member == .none
        ? "members' data differs and no majority agrees: nothing may be changed any more"
        : "this member's data differs from the others': it serves no more",
      metadata: metadata
    )
  }

  private func noteInstalled(_ mark: LogMark) {
    logger.notice(
      "the leader's snapshot is installed",
      metadata: [
        "index": "\(mark.index)", "term": "\(mark.term)", "revision": "\(machine.revision)",
      ]
    )
    outlets.noted(.snapshotInstalled)
    outlets.installed()
  }

  /// A write of no more than this is made on this thread; a follower's only if it is what a client or
  /// two wrote, since under load the leader's next entries must not wait for the disk.
  private static let inlineWriteBytesMax = 16 << 10
  private static let inlineFollowerWriteBytesMax = 1 << 10

  /// Runs the machine and carries out what it says.
  private func takeTurn() {
    currency.ask(machine)
    while takeOneTurn() {}
    publish()
    for (loop, queue) in machine.replies.enumerated() where !queue.isEmpty {
      outlets.answers(loop, queue.take())
    }
    if !notDone.isEmpty || !unknown.isEmpty {
      outlets.proposals(notDone, unknown)
      notDone.removeAll()
      unknown.removeAll()
    }
    transfers.look(machine)
    flushForWaiters()
  }

  /// Returns whether there is more to do at once.
  private func takeOneTurn() -> Bool {
    let isIdle = !machine.hasWritesUnderWay
    let output = machine.turn()
    // Before the write: the followers' disks work beside this one's.
    if !output.messages.isEmpty { outlets.messages(output.messages) }
    for block in output.events { outlets.events(block) }
    let isDurable = isIdle && write(inline: output.writes)
    if !isDurable {
      for write in output.writes { logWriter.post(.write(write)) }
    }
    if let mark = output.release { logWriter.post(.release(mark)) }
    if let flush = output.flush { housekeeper.post(.flush(flush)) }
    if let mark = output.installed { noteInstalled(mark) }
    if let failure = output.failure {
      outlets.fatal("a snapshot could not be installed: \(failure)")
    }
    if let corruption = output.corruption { log(corruption) }
    if output.hasCompaction { housekeeper.post(.compact) }
    if !output.readyReads.isEmpty || !output.lostReads.isEmpty {
      currency.answer(ready: output.readyReads, lost: output.lostReads)
      outlets.reads(output.readyReads, output.lostReads)
    }
    notDone += output.proposalsNotDone
    unknown += output.proposalsUnknown
    return isDurable
  }

  /// Writes little things on this thread, when nobody waits for it but for this write: the leader
  /// of several must send its heartbeats while its disk works, while a follower whose disk hangs has
  /// nothing to say. Returns false when it is not to be.
  private func write(inline writes: [ReplicaOutput.Write]) -> Bool {
    let bytesMax: Int
    if machine.isAlone {
      bytesMax = Self.inlineWriteBytesMax
    } else if machine.status.role == .follower {
      bytesMax = Self.inlineFollowerWriteBytesMax
    } else {
      return false
    }
    guard let last = writes.last,
      writes.reduce(0, { $0 + $1.batch.byteCount }) <= bytesMax,
      logWriter.writeNow(writes)
    else { return false }
    machine.persisted(through: last.sequence)
    return true
  }

  private func publish() {
    if machine.membersVersion != publishedMembersVersion {
      publishedMembersVersion = machine.membersVersion
      notePromotions(from: status.memberList)
      status.publish(machine.members)
      outlets.members(machine.members)
    }
    if machine.alarmsVersion != publishedAlarmsVersion {
      publishedAlarmsVersion = machine.alarmsVersion
      publish(alarms: machine.alarms)
    }
    if machine.downgradeVersion != publishedDowngradeVersion {
      publishedDowngradeVersion = machine.downgradeVersion
      status.publish(downgrade: machine.downgrade)
    }
    let new = machine.status
    guard new != lastStatus else { return }
    if new.leader != lastStatus.leader || new.role != lastStatus.role {
      logger.info(
        "leadership",
        metadata: [
          "leader": "\(new.leader)", "role": "\(new.role)", "term": "\(new.term)",
        ]
      )
    }
    lastStatus = new
    status.publish(new)
  }

  private func notePromotions(from old: MemberTable) {
    guard machine.status.role == .leader else { return }
    for member in machine.members.members where !member.isLearner {
      if old[member.id]?.isLearner == true { outlets.noted(.learnerPromoted) }
    }
  }

  private func publish(alarms: AlarmTable) {
    let known = status.alarms
    for alarm in alarms.alarms where !known.contains(alarm) {
      logger.error(
        "an alarm is raised",
        metadata: ["alarm": "\(alarm.type)", "member": "\(alarm.memberID)"]
      )
    }
    for alarm in known.alarms where !alarms.contains(alarm) {
      logger.notice(
        "an alarm is disarmed",
        metadata: ["alarm": "\(alarm.type)", "member": "\(alarm.memberID)"]
      )
    }
    status.publish(alarms)
  }

  /// Whoever asked for a full flush is answered once nothing that was applied is only in memory.
  private func flushForWaiters() {
    guard !flushWaiters.isEmpty else { return }
    if let flush = machine.seal() {
      housekeeper.post(.flush(flush))
    } else if !machine.isFlushing {
      completeFlushes(.success(()))
    }
  }

  private func completeFlushes(_ result: Result<Void, FlushError>) {
    let waiters = flushWaiters
    flushWaiters.removeAll()
    for waiter in waiters { housekeeper.post(.task { waiter(result) }) }
  }
}

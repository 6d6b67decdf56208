package import Auth
package import Base
package import Lease
import Log
package import MVCC
package import Membership
import Proto
package import Raft
import Storage

/// One member as a deterministic state machine: Raft, the store and the member table.
///
/// Inputs are its methods; `turn()` says what they lead to. It knows no clock, thread, socket or
/// file: the owner hands in ticks, carries out the `ReplicaOutput` and delivers `replies`. It is
/// confined to one thread.
///
/// The path of a write: `receive` proposes; `turn` hands out the entries to write; `persisted`
/// lets Raft commit; `turn` applies what is committed and fills `replies`.
package final class ReplicaMachine {
  let configuration: ReplicaConfiguration
  var raft: RaftNode
  let store: Store
  package internal(set) var members: MemberTable {
    didSet { membersVersion += 1 }
  }
  /// Grows with each change of `members`.
  package private(set) var membersVersion = 0
  /// The membership in force, as Raft has it.
  package internal(set) var confState: ConfState

  /// Shared with the threads that keep leases alive.
  package let leases: LeaseRegistry
  package var auth: AuthState { access.state }
  /// `auth`, and what its users may do.
  var access: AccessChecker
  /// Grows with each change of `auth`.
  package internal(set) var authVersion = 0
  /// The version of `auth` that the newest closed memtable carries.
  var sealedAuthVersion = 0
  /// What the log changed beside the store; see `StateHash`.
  var tablesHash: UInt32
  /// As of the newest closed memtable.
  var sealedTablesHash: UInt32
  /// In a cluster of several: the hashes at late indexes.
  var hashes = HashHistory()
  /// A snapshot that came with the message that Raft has, or is about to get.
  var received: ReceivedSnapshot?
  /// An installation failed: the member must not go on.
  package internal(set) var isBroken = false
  /// Called with each new state of `auth` while the batch that made it is still open: who reads
  /// that batch's keys later finds the permissions of the same moment, or newer ones.
  package var authChanged: (AuthState) -> Void = { _ in }
  /// Called with each log-in that went through the log, before it is answered, and the auth revision
  /// there.
  package var loggedIn: (_ logIn: LogIn, _ revision: UInt64) -> Void = { _, _ in }
  package internal(set) var alarms: AlarmTable {
    didSet { alarmsVersion += 1 }
  }
  /// Grows with each change of `alarms`.
  package private(set) var alarmsVersion = 0
  /// As of the newest closed memtable.
  var sealedAlarmsVersion = 0
  /// For the next turn's `ReplicaOutput.corruption`.
  var corruption: ReplicaOutput.Corruption?
  package internal(set) var downgrade: DowngradeJob? {
    didSet { downgradeVersion += 1 }
  }
  /// Grows with each change of `downgrade`.
  package private(set) var downgradeVersion = 0
  /// As of the newest closed memtable.
  var sealedDowngradeVersion = 0

  /// Answers by event loop. Take them after each `turn`.
  package let replies: [ReplyQueue]
  package internal(set) var status = ReplicaStatus()

  /// Committed entries that are not applied yet, from `pendingStart` on.
  var pending: [Entry] = []
  var pendingStart = 0
  /// The weight of those entries.
  var pendingBytes = 0
  /// The last applied entry.
  var applied: LogMark
  /// The entry that is being applied, or the last that was.
  var applying = LogIndex.zero

  /// The owner's clock, nanoseconds since any start; it never goes back. Set it before the inputs
  /// of a turn. It decides when leases expire, at the leader, and nothing else.
  package var now: UInt64 = 0
  var leaseUpkeep = LeaseUpkeep()

  /// Readys whose writes are under way, in order, and the newest one handed out.
  var writesUnderWay: [(sequence: UInt64, tick: UInt64)] = []
  var lastSequence: UInt64 = 0
  /// A commit index that waits for the next write: alone it is not worth one.
  var unwrittenHardState: HardState?
  var delayedMessages: [(sequence: UInt64, message: Raft.Message)] = []

  /// Ticks since the start.
  var tickCount: UInt64 = 0
  /// When the leader with the stalled disk began to hand over; nil while it does not.
  var handOverTick: UInt64?

  var desk: ForwardingDesk
  /// For the next turn's `ReplicaOutput.proposalsUnknown`.
  var unknownProposals: [ProposalBlockName] = []

  /// Reads that wait until the store has applied their index.
  var waitingReads: [ReadState] = []
  var heldReads = HeldReads()
  /// Reads that were given up since the last turn.
  var expiredReads: [UInt64] = []
  /// Compactions with `physical` set that wait until the background work is done.
  var waitingCompactions: [WaitingCompaction] = []

  /// Whether a memtable is with the flusher.
  package internal(set) var isFlushing = false
  /// Whether there may be revisions to remove: also at the start, when an earlier life may have
  /// left some.
  var hasNewCompaction = true
  /// The version of `members` at which it was last seen to hold this member's name and client
  /// URLs.
  var publishedVersion = -1
  /// Until it tells them again, and until it sees to the membership again as a leader.
  var publishPauseTicks = 0
  var upkeepPauseTicks = 0
  /// Changes of the membership that wait for the one under way.
  var waitingChanges: [SharedBytes] = []
  /// The newest version that all members understand, as `3.6`, where the owner knows; a leader makes
  /// it the cluster's. Empty: not known.
  package var agreedVersion = ""
  /// How long this member has known that it was removed.
  package internal(set) var ticksSinceRemoval = 0
  let catchUp: CatchUpWindow
  let scratch: ReplyQueue
  /// Called with each entry before it is applied: how a simulation sees what a member takes for
  /// committed.
  package var willApply: ((Entry) -> Void)?
  /// Measures how long entries take, when somebody wants to know.
  package var meter: ApplyMeter?
  /// Whether the newest answer of the entry that is applied was an error.
  var lastReplyFailed = false
  let arena = Arena()

  /// Starts from what the store and the log hold: `restored` is the log's content with the store's
  /// applied index, `appliedTerm` the term of the entry there, `tables` what is beside the store as
  /// of it.
  /// `seed` decides Raft's random timeouts. Throws when what was restored contradicts itself.
  package init(
    _ configuration: ReplicaConfiguration,
    store: Store,
    tables: ReplicatedTables,
    restored: RestoredState,
    appliedTerm: Term,
    seed: UInt64
  ) throws(RestoreError) {
    self.configuration = configuration
    self.store = store
    members = tables.members
    leases = tables.leases
    access = AccessChecker(tables.auth)
    alarms = tables.alarms
    downgrade = tables.downgrade
    tablesHash = tables.hash
    sealedTablesHash = tables.hash
    confState = restored.confState
    applied = LogMark(
      index: restored.applied,
      term: appliedTerm,
      confState: restored.confState
    )
    sealedIndex = restored.applied
    retention = LogRetention(stored: restored.applied)
    raft = try RaftNode(configuration: configuration.raft, restored: restored, seed: seed)
    replies = (0..<configuration.loopCount).map { _ in ReplyQueue() }
    desk = ForwardingDesk(loopCount: configuration.loopCount, epoch: configuration.epoch)
    scratch = ReplyQueue()
    catchUp = CatchUpWindow(
      entriesMax: configuration.catchUpEntriesMax,
      bytesMax: configuration.catchUpBytesMax
    )
    status.applied = restored.applied
    if confState.voters == [configuration.memberID] { raft.campaign() }
  }

  // MARK: Inputs

  /// A heartbeat interval has passed.
  package func tick() {
    tickCount += 1
    watchDisk()
    raft.tick()
    expireHeld()
    reviewForwarded()
    expireReads()
    reviewHolds()
    keepLeases()
    tickMembers()
  }

  /// A peer sent a message. What is wrong with it is the peer's fault and is dropped. One that
  /// speaks of a snapshot comes by the function below.
  package func receive(_ message: consuming Raft.Message) throws(RaftError) {
    if message.kind == .snapshot { throw .malformed }
    // A proposal with a term is between replicas; Raft's own have none.
    if message.kind == .propose, message.logTerm > .zero { return receiveProposals(message) }
    try raft.step(message)
  }

  /// What was sent to a peer may be lost.
  package func peerUnreachable(_ peer: MemberID) {
    raft.reportUnreachable(peer)
  }

  /// The log has made every write up to `sequence` durable.
  package func persisted(through sequence: UInt64) {
    writesUnderWay.removeAll { $0.sequence <= sequence }
    let covered = writesUnderWay.first.map { $0.sequence - 1 } ?? lastSequence
    raft.persisted(through: covered)
  }

  /// The log cannot be written (full or failing disk): stop leading, so that others may.
  package func logFailed() {
    raft.stepDown()
  }

  /// The flusher has made the handed-out memtable durable, up to `mark`.
  package func flushed(to mark: LogMark) {
    isFlushing = false
    // A snapshot that was installed meanwhile has made the flush void.
    if mark.index >= retention.stored { flushedMark = mark }
  }

  /// The background work has removed everything that compactions up to `revision` made obsolete.
  package func compacted(to revision: Revision) {
    let done = waitingCompactions.filter { $0.revision <= revision }
    waitingCompactions.removeAll { $0.revision <= revision }
    for compaction in done {
      reply(to: compaction.handle) { (writer: inout ByteWriter) throws(RequestError) in
        compaction.answer.withUnsafeBytes { writer.append($0) }
      }
    }
  }

  var flushedMark: LogMark?
  /// Which entries are kept, and for whom.
  var retention: LogRetention
  /// How far the newest closed memtable goes.
  var sealedIndex: LogIndex
  /// The weight of the entries applied since then.
  var unsealedLogBytes = 0
}

/// A user who has shown a password, and the token for that.
package struct LogIn: Sendable {
  package var user: AuthUser
  package var token: String
}

/// A compaction whose answer waits for the disk.
struct WaitingCompaction {
  var handle: RequestHandle
  var revision: Revision
  var answer: SharedBytes
}

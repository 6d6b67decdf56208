package import Base
import Lease
import Proto
import Raft

/// What a leader remembers of its work on leases.
struct LeaseUpkeep {
  /// The term in which this member leads and decides about leases; nil when it does not.
  var term: Term?
  /// The entry of the revocations that were proposed last, until it is applied: there are never
  /// more than these under way.
  var revocation: LogIndex?
  /// Raft takes no proposals now: the next try is with the next tick.
  var waitsForTick = false
  /// The clock at the last tick.
  var lastTick: UInt64 = 0

  /// Most leases in one entry, and the keys after which no more are added: applying one holds the
  /// store's lock.
  static let leasesMax = 500
  static let keysMax = 500
}

// How the leader lets leases expire.
extension ReplicaMachine {
  /// Begins to decide about leases, or ceases to, as this member's part changes.
  ///
  /// It begins once an entry of its own term is applied: everything that earlier leaders committed
  /// is applied then too, so no revocation is on its way that would belie a renewal.
  func followLeadership() {
    let isLeading = status.role == .leader && applied.term == raft.term
    if let term = leaseUpkeep.term, !isLeading || term != raft.term {
      leaseUpkeep.term = nil
      leaseUpkeep.revocation = nil
      leases.demote()
    }
    if isLeading && leaseUpkeep.term == nil {
      leaseUpkeep.term = raft.term
      leases.promote(
        now: now,
        extensionNanoseconds: configuration.leaseExtensionNanoseconds
      )
    }
  }

  /// With each tick.
  func keepLeases() {
    let away = now - min(leaseUpkeep.lastTick, now)
    leaseUpkeep.lastTick = now
    leaseUpkeep.waitsForTick = false
    guard decidesAboutLeases else { return }
    if away > configuration.leaseExtensionNanoseconds {
      // The process was paused, or this thread: renewals may wait to be read.
      leases.hold(until: now + configuration.leaseExtensionNanoseconds)
    }
    proposeCheckpoints()
    proposeExpiry()
  }

  /// Whether expired leases wait for `proposeExpiry` and it would do something for them now.
  package var hasExpiryToPropose: Bool {
    // A corrupt member changes nothing by itself, nor does one with a hung disk; until then, leases
    // may still be renewed.
    decidesAboutLeases && !leaseUpkeep.waitsForTick && isRevocationApplied
      && !alarms.hasCorruption && !isDiskStalled
      && leases.hasDue(now: now)
  }

  /// Whether this member leads in the term in which it took the leases over. A message may have
  /// ended that since the last turn, and Raft would send proposals on to the new leader, who has
  /// renewed leases since.
  private var decidesAboutLeases: Bool {
    leaseUpkeep.term == raft.term && raft.role == .leader
  }

  private var isRevocationApplied: Bool {
    leaseUpkeep.revocation.map { $0 <= applied.index } ?? true
  }

  /// Proposes to end leases that have expired, one batch after the other. The owner calls it before
  /// a turn, so that other proposals get their turn between two batches.
  package func proposeExpiry() {
    guard hasExpiryToPropose else { return }
    let expired = leases.takeExpired(
      now: now,
      leasesMax: LeaseUpkeep.leasesMax,
      keysMax: LeaseUpkeep.keysMax
    )
    guard !expired.isEmpty else { return }
    var request = Etcdserverpb.LeaseUpkeepRequest()
    request.expired = expired.map(\.rawValue)
    request.appliedIndex = applied.index.rawValue
    if propose(.leaseUpkeep, request.encoded()) {
      leaseUpkeep.revocation = raft.lastIndex
    } else {
      leases.giveBack(expired)
      leaseUpkeep.waitsForTick = true
    }
  }

  /// Writes down, now and then, what is left of long leases, so that a change of leader or a
  /// restart does not give them all of their time again.
  private func proposeCheckpoints() {
    let ticks = Int(LeaseRegistry.checkpointSeconds) * configuration.ticksPerSecond
    let due = leases.takeCheckpoints(now: now, slotCount: leases.slotCount / ticks + 1)
    guard !due.isEmpty else { return }
    var request = Etcdserverpb.LeaseUpkeepRequest()
    request.appliedIndex = applied.index.rawValue
    request.checkpoints = due.map { lease, seconds in
      Etcdserverpb.LeaseCheckpoint(id: lease.rawValue, remainingTTL: seconds)
    }
    if !propose(.leaseUpkeep, request.encoded()) { leases.giveBack(checkpoints: due) }
  }

  /// Writes down what is left of all leases, if this member leads: it is about to stop, and whoever
  /// leads next is to know. Returns the entry behind which all is written; nil when there is none.
  package func checkpointAllLeases() -> LogIndex? {
    guard decidesAboutLeases, !alarms.hasCorruption, !isDiskStalled else { return nil }
    let due = leases.takeCheckpoints(now: now, slotCount: leases.slotCount, isLast: true)
    guard !due.isEmpty else { return nil }
    for start in stride(from: 0, to: due.count, by: LeaseUpkeep.leasesMax) {
      var request = Etcdserverpb.LeaseUpkeepRequest()
      request.appliedIndex = applied.index.rawValue
      request.checkpoints = due[start..<min(start + LeaseUpkeep.leasesMax, due.count)]
        .map { lease, seconds in
          Etcdserverpb.LeaseCheckpoint(id: lease.rawValue, remainingTTL: seconds)
        }
      guard propose(.leaseUpkeep, request.encoded()) else {
        leases.giveBack(checkpoints: Array(due[start...]))
        break
      }
    }
    return raft.lastIndex
  }

  /// Proposes something of this member's own, for which nobody waits.
  private func propose(_ operation: ReplicatedOperation, _ request: [UInt8]) -> Bool {
    var batch = ProposalBatch(epoch: configuration.epoch, capacity: request.count + 64)
    request.withUnsafeBytes { batch.append(operation, handle: .none, request: $0) }
    return (try? raft.propose(ProposalBatch.requests(in: batch.take()))) != nil
  }
}

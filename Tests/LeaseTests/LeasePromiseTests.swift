import Base
import Lease
import Testing

/// No lease ends before the time that its client was told, whoever told it: two members in turn
/// lead, and the one that was deposed goes on renewing for as long as it may not know.
@Suite struct LeasePromiseTests {
  /// A rule that the harness breaks on purpose, to show that the check would notice.
  enum BrokenRule: CaseIterable {
    /// What ends within the next tick is taken for ended.
    case expiresATickEarly
    /// A new leader gives leases no more than the log knows of.
    case forgetsTheExtension
    /// A lease of which the log knows a checkpoint is renewed without one that takes it back.
    case renewsOverACheckpoint
    /// An expiry ends the lease that has its ID now, whether or not that was the one meant.
    case expiresWhatCameLater
  }

  struct Violation: Error {
    var text: String
  }

  private enum Pending {
    case expired([LeaseID], takenAt: UInt64, asOf: LogIndex)
    case checkpoints([(lease: LeaseID, remainingSeconds: Int64)], asOf: LogIndex)
  }

  private struct Run {
    static let extensionNanoseconds = NaiveLeases.second
    static let tick = NaiveLeases.second / 10

    let broken: BrokenRule?
    var random: SeededGenerator
    let members = [LeaseRegistry(), LeaseRegistry()]
    var leader = 0
    /// Another one believes that it leads, at most until this time.
    var deposedUntil: UInt64?
    /// What was applied since, and not by that one: it would have heard of its successor.
    var missed: [(LeaseRegistry) -> Void] = []
    var now = 1000 * NaiveLeases.second
    var index = LogIndex(1)
    /// Proposed by the leader and not applied.
    var pending: [Pending] = []
    /// Until when each lease was promised to live.
    var promises: [LeaseID: UInt64] = [:]
    var expired = 0
    var renewedByDeposed = 0

    init(seed: UInt64, broken: BrokenRule?) {
      self.broken = broken
      random = SeededGenerator(seed: seed)
      members[leader].promote(now: now, extensionNanoseconds: 0)
    }

    mutating func someLease() -> LeaseID { LeaseID(Int64(1 + random.below(9))) }

    mutating func takeStep() throws {
      switch random.below(100) {
      case 0..<10: grant()
      case 10..<30: try renew()
      case 30..<60:
        // Much must happen while two believe that they lead.
        let tenthsMax = deposedUntil == nil ? 20 : 4
        pass(UInt64(random.below(2 * tenthsMax)) * Self.tick / 2)
      case 60: pass(UInt64(random.below(400)) * NaiveLeases.second)
      case 61..<80: takeExpired()
      case 80..<90: try applyPending()
      case 90..<93: takeCheckpoints()
      case 93: refusePending()
      case 94..<96: revoke()
      case 96: try changeLeader()
      default: grant()
      }
    }

    mutating func pass(_ nanoseconds: UInt64) {
      now += nanoseconds
      if let until = deposedUntil, now >= until { depose() }
    }

    /// The deposed leader notices.
    mutating func depose() {
      deposedUntil = nil
      members[1 - leader].demote()
      for entry in missed { entry(members[1 - leader]) }
      missed = []
    }

    /// Applies an entry of the log on all members.
    mutating func apply(_ entry: @escaping (LeaseRegistry) -> Void) {
      entry(members[leader])
      if deposedUntil == nil { entry(members[1 - leader]) } else { missed.append(entry) }
    }

    mutating func grant() {
      let lease = someLease()
      // Few live long enough for checkpoints, or they would be all that lives.
      let seconds = Int64(lease.rawValue > 7 ? 700 + random.below(1500) : 1 + random.below(8))
      index = index + 1
      if !members[leader].exists(lease) {
        promises[lease] = now + UInt64(seconds) * NaiveLeases.second
      }
      apply { [index, now] in
        _ = try? $0.grant(lease, seconds: seconds, at: index, now: now)
      }
    }

    mutating func revoke() {
      let lease = someLease()
      index = index + 1
      apply { _ = $0.revoke(lease) }
      promises[lease] = nil
    }

    mutating func renew() throws {
      let lease = someLease()
      let isDeposed = deposedUntil != nil && random.oneIn(2)
      let member = members[isDeposed ? 1 - leader : leader]
      switch member.renew(lease, now: now) {
      case .renewed(let seconds):
        promise(lease, seconds)
        if isDeposed { renewedByDeposed += 1 }
      case .needsCheckpoint where broken == .renewsOverACheckpoint:
        promise(lease, member.stored(lease)?.grantedSeconds ?? 0)
      case .needsCheckpoint where !isDeposed:
        // Through the log, behind what is on its way; then once more.
        try applyPending()
        index = index + 1
        apply { $0.checkpoint(lease, remainingSeconds: 0) }
        if case .renewed(let seconds) = member.renew(lease, now: now) { promise(lease, seconds) }
      default: break
      }
    }

    mutating func promise(_ lease: LeaseID, _ seconds: Int64) {
      promises[lease] = max(
        promises[lease] ?? 0,
        now + UInt64(seconds) * NaiveLeases.second
      )
    }

    mutating func takeExpired() {
      let time = broken == .expiresATickEarly ? now + Self.tick : now
      let taken = members[leader].takeExpired(now: time, leasesMax: 3, keysMax: .max)
      guard !taken.isEmpty else { return }
      pending.append(.expired(taken, takenAt: now, asOf: index))
    }

    mutating func takeCheckpoints() {
      let taken = members[leader].takeCheckpoints(now: now, slotCount: 100)
      guard !taken.isEmpty else { return }
      pending.append(.checkpoints(taken, asOf: index))
    }

    mutating func applyPending() throws {
      let entries = pending
      pending = []
      for entry in entries {
        index = index + 1
        switch entry {
        case .checkpoints(let checkpoints, let asOf):
          for (lease, seconds) in checkpoints {
            apply { $0.checkpoint(lease, remainingSeconds: seconds, asOf: asOf) }
          }
        case .expired(let leases, let takenAt, let asOf):
          for lease in leases { try end(lease, takenAt, asOf) }
        }
      }
    }

    mutating func end(_ lease: LeaseID, _ takenAt: UInt64, _ asOf: LogIndex) throws {
      let meant = broken == .expiresWhatCameLater ? LogIndex(.max) : asOf
      let wasThere = members[leader].exists(lease)
      apply { _ = $0.expire(lease, asOf: meant) }
      guard wasThere, !members[leader].exists(lease) else { return }
      expired += 1
      guard let promise = promises.removeValue(forKey: lease), promise <= takenAt else {
        throw Violation(text: "lease \(lease) was taken for ended at \(takenAt), too early")
      }
    }

    /// Raft took no proposals.
    mutating func refusePending() {
      for entry in pending {
        switch entry {
        case .expired(let leases, _, _): members[leader].giveBack(leases)
        case .checkpoints(let checkpoints, _): members[leader].giveBack(checkpoints: checkpoints)
        }
      }
      pending = []
    }

    /// What the old leader proposed is committed before the new one decides, or lost.
    mutating func changeLeader() throws {
      if deposedUntil != nil { depose() }
      if random.oneIn(2) { try applyPending() }
      pending = []
      leader = 1 - leader
      members[leader].promote(
        now: now,
        extensionNanoseconds: broken == .forgetsTheExtension ? 0 : Self.extensionNanoseconds
      )
      deposedUntil = now + Self.extensionNanoseconds
    }
  }

  private static let stepsPerRun = 3000

  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func noLeaseEndsEarly(seed: UInt64) throws {
    var run = Run(seed: seed, broken: nil)
    for step in 0..<Self.stepsPerRun {
      #expect(throws: Never.self, "seed \(seed), step \(step)") { try run.takeStep() }
    }
    for member in run.members { #expect(member.findFault() == nil, "seed \(seed)") }
    // A run in which nothing happens proves nothing.
    #expect(run.expired > 20 && run.renewedByDeposed > 10, "seed \(seed)")
  }

  @Test(arguments: BrokenRule.allCases)
  func aBrokenRuleIsFound(_ rule: BrokenRule) {
    let seedsMax: UInt64 = 40
    for seed in 1...seedsMax {
      var run = Run(seed: seed, broken: rule)
      for _ in 0..<Self.stepsPerRun {
        guard (try? run.takeStep()) == nil else { continue }
        return
      }
    }
    Issue.record("\(rule) was not found within \(seedsMax) seeds")
  }
}

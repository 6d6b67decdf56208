import Base
import Lease
import Testing

/// The rules of semantics.md and the invariants, one by one.
@Suite struct LeaseRuleTests {
  private static let second: UInt64 = 1_000_000_000
  private let registry = LeaseRegistry()

  private func grant(_ id: Int64, _ seconds: Int64, now: UInt64 = 0, at index: UInt64 = 1) {
    #expect(throws: Never.self) {
      _ = try registry.grant(LeaseID(id), seconds: seconds, at: LogIndex(index), now: now)
    }
  }

  private func attach(_ key: String, to lease: Int64) {
    Array(key.utf8).withUnsafeBytes { registry.attach($0, to: LeaseID(lease)) }
  }

  private func takeExpired(_ now: UInt64, keysMax: Int = .max) -> [Int64] {
    registry.takeExpired(now: now, leasesMax: 100, keysMax: keysMax).map(\.rawValue)
  }

  @Test func timesToLiveAreBounded() throws {
    registry.promote(now: 0, extensionNanoseconds: 0)
    grant(1, LeaseRegistry.secondsMax, now: 1 << 60)
    #expect(throws: LeaseError.timeToLiveTooLarge) {
      _ = try registry.grant(
        LeaseID(2),
        seconds: LeaseRegistry.secondsMax + 1,
        at: LogIndex(1),
        now: 0
      )
    }
    #expect(
      try registry.grant(LeaseID(3), seconds: -5, at: LogIndex(1), now: 0).grantedSeconds == 1
    )
    #expect(takeExpired(1 << 61) == [3])
    // The longest lease is longer than the clock's numbers are large: no wrap to an early end.
    #expect(registry.times(of: LeaseID(1), now: 1 << 60)?.remainingSeconds == 9_000_000_000)
  }

  // R11
  @Test func whatIsHandedOutCannotBeRenewed() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    grant(1, 5)
    #expect(takeExpired(5 * Self.second - 1) == [])
    #expect(takeExpired(5 * Self.second) == [1])
    #expect(registry.renew(LeaseID(1), now: 5 * Self.second) == .unknown)
    #expect(registry.times(of: LeaseID(1), now: 0) == nil)
    #expect(registry.exists(LeaseID(1)))
    #expect(takeExpired(.max) == [])
    // Not proposed after all: it may live.
    registry.giveBack([LeaseID(1)])
    #expect(registry.renew(LeaseID(1), now: 6 * Self.second) == .renewed(seconds: 5))
    #expect(takeExpired(11 * Self.second - 1) == [])
    #expect(takeExpired(11 * Self.second) == [1])
  }

  // D3: as long as nobody has proposed its end, a late renewal counts.
  @Test func aLeaseRenewedBeforeItWasTakenLives() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    grant(1, 5)
    #expect(registry.renew(LeaseID(1), now: 60 * Self.second) == .renewed(seconds: 5))
    #expect(takeExpired(64 * Self.second) == [])
  }

  @Test func onlyTheLeaderRenewsAndExpires() {
    grant(1, 5)
    #expect(registry.renew(LeaseID(1), now: 0) == .notPrimary)
    #expect(takeExpired(.max) == [] && !registry.hasDue(now: .max))
    // It was granted under another leader, who may have renewed it: the full time, and more.
    registry.promote(now: 100 * Self.second, extensionNanoseconds: Self.second)
    #expect(takeExpired(106 * Self.second - 1) == [])
    #expect(takeExpired(106 * Self.second) == [1])
    registry.demote()
    #expect(registry.renew(LeaseID(1), now: 106 * Self.second) == .notPrimary)
    registry.promote(now: 107 * Self.second, extensionNanoseconds: Self.second)
    #expect(registry.renew(LeaseID(1), now: 107 * Self.second) == .renewed(seconds: 5))
    // A renewal takes nothing from what the new leader gave.
    #expect(takeExpired(113 * Self.second - 1) == [])
  }

  @Test func aPauseGivesClientsTime() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    grant(1, 5)
    grant(2, 5)
    registry.hold(until: 10 * Self.second)
    #expect(!registry.hasDue(now: 9 * Self.second))
    #expect(takeExpired(9 * Self.second) == [])
    #expect(registry.renew(LeaseID(2), now: 9 * Self.second) == .renewed(seconds: 5))
    #expect(takeExpired(10 * Self.second) == [1])
  }

  @Test func aLeaseGrantedAnewIsNotMeantByAnOldExpiry() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    grant(1, 5, at: 7)
    #expect(takeExpired(5 * Self.second) == [1])
    #expect(registry.revoke(LeaseID(1)) != nil)
    grant(1, 5, now: 5 * Self.second, at: 9)
    #expect(registry.expire(LeaseID(1), asOf: LogIndex(8)) == nil)
    #expect(registry.exists(LeaseID(1)))
    #expect(registry.renew(LeaseID(1), now: 6 * Self.second) == .renewed(seconds: 5))
    #expect(registry.expire(LeaseID(1), asOf: LogIndex(9)) != nil)
  }

  @Test func checkpointsCountAfterAChangeOfLeader() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    grant(1, 1000)
    grant(2, 1000)
    grant(3, 500)
    // Too early, and later too late for the short one.
    #expect(registry.takeCheckpoints(now: 299 * Self.second, slotCount: 10).isEmpty)
    #expect(registry.renew(LeaseID(2), now: 299 * Self.second) == .renewed(seconds: 1000))
    let due = registry.takeCheckpoints(now: 400 * Self.second, slotCount: 10)
    #expect(due.map(\.lease.rawValue) == [1])
    #expect(due.map(\.remainingSeconds) == [600])
    // On its way: a renewal now would be belied by it.
    #expect(registry.renew(LeaseID(1), now: 401 * Self.second) == .needsCheckpoint)
    registry.checkpoint(LeaseID(1), remainingSeconds: 600)
    #expect(registry.renew(LeaseID(1), now: 401 * Self.second) == .needsCheckpoint)
    registry.promote(now: 402 * Self.second, extensionNanoseconds: 0)
    #expect(registry.times(of: LeaseID(1), now: 402 * Self.second)?.remainingSeconds == 600)
    #expect(registry.times(of: LeaseID(2), now: 402 * Self.second)?.remainingSeconds == 1000)
    registry.checkpoint(LeaseID(1), remainingSeconds: 0)
    #expect(registry.renew(LeaseID(1), now: 403 * Self.second) == .renewed(seconds: 1000))
    registry.promote(now: 404 * Self.second, extensionNanoseconds: 0)
    #expect(registry.times(of: LeaseID(1), now: 404 * Self.second)?.remainingSeconds == 1000)
  }

  @Test func aLookForCheckpointsGoesAround() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    for id in 1...10 as ClosedRange<Int64> { grant(id, 1000) }
    var found: [Int64] = []
    for _ in 0..<4 {
      found += registry.takeCheckpoints(now: 400 * Self.second, slotCount: 3).map(\.lease.rawValue)
    }
    #expect(found.sorted() == Array(1...10))
  }

  @Test func manyKeysEndABatch() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    for id in 1...4 as ClosedRange<Int64> {
      grant(id, id)
      for key in 0..<3 { attach("\(id)-\(key)", to: id) }
    }
    #expect(takeExpired(10 * Self.second, keysMax: 5) == [1, 2])
    #expect(takeExpired(10 * Self.second, keysMax: 1) == [3])
    #expect(takeExpired(10 * Self.second, keysMax: 1) == [4])
  }

  @Test func keysAreInOrder() {
    grant(1, 5)
    for key in ["b", "a\u{0}", "ab", "a", "B", "ä"] { attach(key, to: 1) }
    let expected = ["B", "a", "a\u{0}", "ab", "b", "ä"].map { Array($0.utf8) }
    #expect(registry.keys(of: LeaseID(1)) == expected)
    var seen: [[UInt8]] = []
    let wasStopped = !registry.forEachKey(of: LeaseID(1)) { key in
      seen.append(Array(key))
      return seen.count < 2
    }
    #expect(wasStopped && seen == Array(expected.prefix(2)))
    #expect(registry.forEachKey(of: LeaseID(2)) { _ in false })
    #expect(registry.revoke(LeaseID(1))?.withKeys { $0.map { Array($0) } } == expected)
    #expect(registry.revoke(LeaseID(1)) == nil)
  }

  @Test func whatWasStoredIsRestored() {
    let sound = StoredLease(
      id: LeaseID(-4),
      grantedSeconds: 100,
      remainingSeconds: 40,
      grantedAt: LogIndex(9)
    )
    #expect(registry.restore(sound))
    #expect(!registry.restore(sound))
    for change in [
      { (lease: inout StoredLease) in lease.id = .none },
      { $0.grantedSeconds = 0 },
      { $0.grantedSeconds = LeaseRegistry.secondsMax + 1 },
      { $0.remainingSeconds = 101 },
      { $0.remainingSeconds = -1 },
    ] {
      var unsound = sound
      unsound.id = LeaseID(5)
      change(&unsound)
      #expect(!registry.restore(unsound))
    }
    #expect(registry.changedCount == 0)
    registry.promote(now: 0, extensionNanoseconds: 0)
    #expect(registry.times(of: LeaseID(-4), now: 0)?.remainingSeconds == 40)
  }

  @Test func statisticsCount() {
    registry.promote(now: 0, extensionNanoseconds: 0)
    for (id, seconds) in [(1, 1), (2, 2), (3, 3), (4, LeaseRegistry.secondsMax)]
      as [(Int64, Int64)]
    {
      grant(id, seconds)
    }
    _ = registry.renew(LeaseID(1), now: 0)
    _ = registry.renew(LeaseID(9), now: 0)
    _ = registry.revoke(LeaseID(2))
    _ = registry.expire(LeaseID(3), asOf: LogIndex(1))
    let statistics = registry.statistics
    #expect(statistics.granted == 4)
    #expect(statistics.renewed == 1)
    #expect(statistics.revoked == 2)
    #expect(statistics.expired == 1)
    #expect(statistics.timeToLiveCounts[0...2] == [1, 1, 1])
    #expect(statistics.timeToLiveCounts.last == 1)
    #expect(statistics.timeToLiveSum == 9_000_000_006)
  }
}

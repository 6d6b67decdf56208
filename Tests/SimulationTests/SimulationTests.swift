import Glibc
import Simulation
import Testing

/// Clusters under faults. A failure prints its seed; MARTLET_SIM_SEED runs that one alone,
/// MARTLET_SIM_SECONDS says how long new ones are tried.
@Suite(.serialized)
struct SimulationTests {
  static let secondsDefault: Double = 3

  private static func setting(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }

  private static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static func run(_ seed: UInt64, broken: BrokenRule? = nil) throws -> Simulation {
    let simulation = try Simulation(seed: seed, broken: broken)
    do {
      try simulation.run()
    } catch {
      if broken == nil {
        print("seed \(seed): \(error)\n" + simulation.trace.lines.joined(separator: "\n"))
      }
      throw error
    }
    return simulation
  }

  @Test func clustersKeepTheirPromisesUnderFaults() throws {
    if let seed = Self.setting("MARTLET_SIM_SEED").flatMap({ UInt64($0) }) {
      _ = try Self.run(seed)
      return
    }
    let seconds = Self.setting("MARTLET_SIM_SECONDS").flatMap(Double.init) ?? Self.secondsDefault
    let first = UInt64.random(in: 0..<1 << 40)
    print("simulation: \(seconds) s from seed \(first)")
    let end = Self.now + seconds
    var runs = 0
    var totals = Simulation.Counts()
    repeat {
      totals.add(try Self.run(first + UInt64(runs)).counts)
      runs += 1
    } while Self.now < end
    print("simulation: \(runs) runs, \(totals)")
    // A simulation in which nothing happens proves nothing.
    #expect(totals.answers > runs * 20)
    // A history that is too tangled to judge in the checker's bound is rare.
    #expect(totals.checkerGaveUp <= runs / 2)
  }

  /// The same seed, the same run: to the last event, with members that come and go and snapshots.
  @Test func aSeedDecidesEverything() throws {
    for seed in Self.replayedSeeds {
      let runs = try (0..<2).map { _ in try Self.run(seed) }
      #expect(runs[0].trace.hash == runs[1].trace.hash)
      #expect(runs[0].trace.count == runs[1].trace.count)
    }
    let hashes = try Self.replayedSeeds.map { try Self.run($0).trace.hash }
    #expect(Set(hashes).count == hashes.count)
  }

  private static let replayedSeeds: [UInt64] = [7, 14, 31]

  /// A failure is the same again, and its trace is short.
  @Test func aFailureIsReplayed() throws {
    let failures = try (0..<2).map { _ in
      let simulation = try Simulation(seed: 1, broken: .ackBeforeSync)
      let failure = #expect(throws: Violation.self) { try simulation.run() }
      #expect((1...80).contains(simulation.trace.lines.count))
      return "\(simulation.trace.hash) \(failure.map { "\($0)" } ?? "")"
    }
    #expect(failures[0] == failures[1])
  }

  /// How many seeds it may take to find a broken rule.
  struct Bound: Sendable, CustomTestStringConvertible {
    var rule: BrokenRule
    var seedsMax: UInt64

    var testDescription: String { "\(rule) within \(seedsMax)" }

    /// A debug build has no time for more than this.
    static let seedsInDebugMax: UInt64 = 8

    var isAffordable: Bool {
      var isDebug = false
      assert(
        {
          isDebug = true
          return true
        }()
      )
      return !isDebug || seedsMax <= Self.seedsInDebugMax
    }
  }

  static let bounds: [Bound] = [
    Bound(rule: .commitWithoutQuorum, seedsMax: 4),
    Bound(rule: .ackBeforeSync, seedsMax: 4),
    Bound(rule: .staleRead, seedsMax: 8),
    Bound(rule: .applyTwice, seedsMax: 4),
    Bound(rule: .lostVote, seedsMax: 400),
    Bound(rule: .leaseEarly, seedsMax: 8),
    Bound(rule: .watchRepeat, seedsMax: 8),
    Bound(rule: .failedSyncCounts, seedsMax: 400),
    Bound(rule: .releaseTooEarly, seedsMax: 100),
    Bound(rule: .flushInTwoHalves, seedsMax: 400),
    Bound(rule: .membershipForgotten, seedsMax: 8),
    Bound(rule: .removedVotes, seedsMax: 80),
    Bound(rule: .learnerCounts, seedsMax: 250),
    Bound(rule: .snapshotUnverified, seedsMax: 600),
    Bound(rule: .snapshotStale, seedsMax: 80),
    Bound(rule: .installWithoutNote, seedsMax: 60),
    Bound(rule: .proposalsTakenTwice, seedsMax: 60),
  ]

  @Test func everyRuleHasABound() {
    #expect(Set(Self.bounds.map(\.rule)) == Set(BrokenRule.allCases))
  }

  @Test(arguments: bounds.filter(\.isAffordable))
  func aBrokenRuleIsFound(_ bound: Bound) throws {
    let rule = bound.rule
    for seed in 0..<bound.seedsMax {
      do {
        _ = try Self.run(seed, broken: rule)
      } catch {
        print("simulation: \(rule) found with \(seed + 1) seeds: \(error)".prefix(300))
        // It is the rule that was found and nothing else.
        _ = try Self.run(seed)
        return
      }
    }
    Issue.record("\(rule) was not found within \(bound.seedsMax) seeds")
  }
}

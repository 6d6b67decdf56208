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

  @Test func aSeedDecidesEverything() throws {
    let hashes = try (0..<2).map { _ in try Self.run(7).trace.hash }
    #expect(hashes[0] == hashes[1])
  }

  /// Each of these rules, broken, must be found within so many seeds. The others need hundreds of
  /// seeds, which a debug build has no time for: `martlet-sim --break NAME --seeds 0..<1000`.
  static let seedsToFindMax: UInt64 = 8
  static let quicklyFound: [BrokenRule] = [
    .commitWithoutQuorum, .ackBeforeSync, .staleRead, .applyTwice, .leaseEarly, .watchRepeat,
  ]

  @Test(arguments: quicklyFound)
  func aBrokenRuleIsFound(_ rule: BrokenRule) throws {
    for seed in 0..<Self.seedsToFindMax {
      do {
        _ = try Self.run(seed, broken: rule)
      } catch {
        print("simulation: \(rule) found with seed \(seed): \(error)")
        // It is the rule that was found and nothing else.
        _ = try Self.run(seed)
        return
      }
    }
    Issue.record("\(rule) was not found within \(Self.seedsToFindMax) seeds")
  }
}

import Glibc
import Testing

/// One member under crashes and failing disks. A failure prints its seed; MARTLET_SIM_SEED runs that
/// one alone, MARTLET_SIM_SECONDS says how long new ones are tried.
@Suite(.serialized)
struct SimulationTests {
  static let secondsDefault: Double = 5

  private static func setting(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }

  private static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  @Test func nothingAcknowledgedIsLostAndNothingIsHalfThere() throws {
    if let seed = Self.setting("MARTLET_SIM_SEED").flatMap({ UInt64($0) }) {
      return try Simulation(seed: seed).run()
    }
    let seconds = Self.setting("MARTLET_SIM_SECONDS").flatMap(Double.init) ?? Self.secondsDefault
    let first = UInt64.random(in: 0..<1 << 40)
    print("replica simulation: \(seconds) s from seed \(first)")
    let end = Self.now + seconds
    var (runs, crashes, acknowledged, renewed, expired) = (0, 0, 0, 0, 0)
    var checkpoints = 0
    repeat {
      let simulation = try Simulation(seed: first + UInt64(runs))
      try simulation.run()
      runs += 1
      crashes += simulation.crashes
      acknowledged += simulation.acknowledged
      renewed += simulation.renewed
      expired += simulation.expired
      checkpoints += simulation.checkpoints
    } while Self.now < end
    print(
      "replica simulation: \(runs) runs, \(crashes) crashes, \(acknowledged) answers, "
        + "\(renewed) renewals, \(expired) expired leases, "
        + "\(checkpoints) checkpoints"
    )
    // A simulation in which nothing happens proves nothing.
    #expect(acknowledged > runs * 20)
    #expect(crashes > runs)
    #expect(renewed > runs / 2 && expired > runs / 4)
  }

  @Test func aSeedDecidesEverything() throws {
    let runs = try (0..<2).map { _ in
      let simulation = try Simulation(seed: 7)
      try simulation.run()
      return [simulation.crashes, simulation.acknowledged]
    }
    #expect(runs[0] == runs[1])
  }

  /// Each rule that the harness can break must be found broken within so many seeds.
  static let seedsToFindMax: UInt64 = 60

  @Test(arguments: BrokenRule.allCases)
  func aBrokenRuleIsFound(_ rule: BrokenRule) throws {
    for seed in 0..<Self.seedsToFindMax {
      do {
        try Simulation(seed: seed, broken: rule).run()
      } catch {
        print("replica simulation: \(rule) found: \(error)")
        // It is the rule that was found and nothing else.
        return try Simulation(seed: seed).run()
      }
    }
    Issue.record("\(rule) was not found within \(Self.seedsToFindMax) seeds")
  }
}

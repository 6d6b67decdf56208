import Base
import Foundation
import Testing

/// Random schedules. `RAFT_SEED=<seed>` runs one alone; `RAFT_RUNS=<count>` sets how many are run.
@Suite struct SimulationTests {
  private static let environment = ProcessInfo.processInfo.environment

  #if DEBUG
  private static let runsDefault = 300
  #else
  private static let runsDefault = 3000
  #endif

  private static let events = 2000

  @Test func randomSchedules() throws {
    var seeds = 1...UInt64(Self.environment["RAFT_RUNS"].flatMap { Int($0) } ?? Self.runsDefault)
    if let seed = Self.environment["RAFT_SEED"].flatMap({ UInt64($0) }) { seeds = seed...seed }
    var committed: UInt64 = 0
    var reads = 0
    for seed in seeds {
      var simulation = try Simulation(seed: seed)
      do { try simulation.run(events: Self.events) } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
      committed += simulation.checker.committed.rawValue
      reads += simulation.checker.readsAnswered
    }
    // A simulation in which nothing happens finds nothing.
    #expect(committed / UInt64(seeds.count) > 15)
    #expect(reads / seeds.count > 3)
    print("simulation: \(seeds.count) runs, \(committed) entries committed, \(reads) reads")
  }
}

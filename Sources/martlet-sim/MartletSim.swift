import ArgumentParser
import Dispatch
import Glibc
import Simulation
import Synchronization

/// Runs simulated clusters under faults, a seed each.
@main
struct MartletSim: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martlet-sim",
    abstract: "Runs simulated clusters under faults and checks what clients may rely on.",
    discussion: """
      One number decides a run: the cluster, its clients, and what goes wrong. Without a seed, new \
      ones are tried for as long as --seconds says. Exit code 1 when a rule was found broken.
      """
  )

  @Option(help: "Runs this seed, and prints its trace's hash.")
  var seed: UInt64?

  @Option(help: "Runs the seeds A..<B.")
  var seeds: SeedRange?

  @Option(help: "Runs fresh seeds for so long.")
  var seconds: Double = 10

  @Option(help: "Runs so many seeds at a time.")
  var jobs = 1

  @Option(name: .customLong("break"), help: "Breaks a rule on purpose, to see it found.")
  var broken: BrokenRule?

  @Flag(help: "Prints the last events also when nothing is wrong.")
  var trace = false

  @Flag(help: "Goes on after a failure.")
  var keepGoing = false

  @Option(help: "Checks the history in a file, which clients of real members wrote, instead.")
  var checkHistory: String?

  func validate() throws {
    guard jobs >= 1, jobs <= 256 else { throw ValidationError("--jobs is from 1 to 256") }
  }

  func run() throws {
    if let checkHistory { return try HistoryCheck.run(checkHistory) }
    let hunt = Hunt(broken: broken, printsTrace: trace, keepsGoing: keepGoing)
    if let seed {
      hunt.run(seed, isAlone: true)
    } else {
      let first = seeds?.range.lowerBound ?? UInt64.random(in: 0..<1 << 40)
      let end = seeds?.range.upperBound ?? .max
      print("from seed \(first)")
      hunt.run(from: first, to: end, seconds: seeds == nil ? seconds : nil, jobs: jobs)
    }
    hunt.summarize()
    if hunt.hasFailed { throw ExitCode(1) }
  }
}

/// `A..<B` on the command line.
struct SeedRange: ExpressibleByArgument, Sendable {
  var range: Range<UInt64>

  init?(argument: String) {
    let parts = argument.split(separator: "..<", omittingEmptySubsequences: false)
    guard parts.count == 2, let first = UInt64(parts[0]), let end = UInt64(parts[1]), first <= end
    else { return nil }
    range = first..<end
  }
}

extension BrokenRule: ExpressibleByArgument {}

/// Seeds run one after the other or some at a time, and what came of them.
final class Hunt: Sendable {
  private struct State {
    var runs = 0
    var failures = 0
    var totals = Simulation.Counts()
    var next: UInt64 = 0
  }

  private let state = Mutex(State())
  private let broken: BrokenRule?
  private let printsTrace: Bool
  private let keepsGoing: Bool
  private let start = Hunt.now

  init(broken: BrokenRule?, printsTrace: Bool, keepsGoing: Bool) {
    self.broken = broken
    self.printsTrace = printsTrace
    self.keepsGoing = keepsGoing
  }

  var hasFailed: Bool { state.withLock { $0.failures > 0 } }

  private static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  func run(from first: UInt64, to end: UInt64, seconds: Double?, jobs: Int) {
    state.withLock { $0.next = first }
    let deadline = seconds.map { Self.now + $0 }
    DispatchQueue.concurrentPerform(iterations: jobs) { _ in
      while deadline.map({ Self.now < $0 }) ?? true {
        let seed = state.withLock { state -> UInt64? in
          guard state.next < end, keepsGoing || state.failures == 0 else { return nil }
          state.next += 1
          return state.next - 1
        }
        guard let seed else { return }
        run(seed, isAlone: false)
      }
    }
  }

  func run(_ seed: UInt64, isAlone: Bool) {
    var simulation: Simulation?
    var failure: String?
    do {
      let made = try Simulation(seed: seed, broken: broken)
      simulation = made
      try made.run()
    } catch {
      failure = "\(error)"
    }
    var lines: [String] = []
    if let simulation, failure != nil || printsTrace { lines += simulation.trace.lines }
    if let failure { lines.append("seed \(seed) FAILS: \(failure)") }
    if let simulation, isAlone {
      lines.append("seed \(seed): trace hash \(String(simulation.trace.hash, radix: 16))")
    }
    state.withLock { state in
      state.runs += 1
      if failure != nil { state.failures += 1 }
      if let simulation { state.totals.add(simulation.counts) }
      for line in lines { print(line) }
      fflush(nil)
    }
  }

  func summarize() {
    let seconds = Self.now - start
    state.withLock { state in
      let perMinute = Double(state.runs) / max(seconds, 0.001) * 60
      print(
        "\(state.runs) runs in \(Int(seconds)) s (\(Int(perMinute)) a minute), "
          + "\(state.failures) failures: \(state.totals)"
      )
    }
  }
}

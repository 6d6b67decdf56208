import Proto
import Terminal

/// `check perf`.
enum PerformanceCheck {
  private static let loads: [String: (limit: Int, clients: Int)] = [
    "s": (150, 50), "m": (1000, 200), "l": (8000, 500), "xl": (15000, 1000),
  ]
  private static let seconds = 60
  private static let keyBytes = 256
  private static let valueBytes = 1024
  /// What passes.
  private static let throughputMin = 0.9
  private static let slowestSecondsMax = 0.5
  private static let deviationSecondsMax = 0.1

  static func run(_ invocation: Invocation) async throws {
    let load = try CheckCommands.size(invocation.flags["load"])
    guard let (limit, clients) = loads[load] else { preconditionFailure("no load \(load)") }
    let prefix = invocation.flags["prefix"]
    try await invocation.withConnection { connection in
      try await CheckCommands.checkEmpty(prefix, connection)
      let counter = Counter()
      let clock = ContinuousClock()
      let start = clock.now
      let puts = PutLoad(
        connections: try await PutLoad.connections(invocation, tasks: clients),
        tasks: clients
      ) { number in
        let due = Duration.seconds(Double(number) / Double(limit))
        guard due < .seconds(seconds), clock.now < start + .seconds(seconds) else { return nil }
        try await clock.sleep(until: start + due)
        let random = (0..<keyBytes).map { _ in UInt8.random(in: .min ... .max) }
        return Etcdserverpb.PutRequest(
          key: RawText.bytes(prefix) + random,
          value: [UInt8](repeating: 0, count: valueBytes)
        )
      }
      let report = try await ProgressBar.follow(
        "writing",
        in: .items,
        of: UInt64(limit * seconds),
        isWanted: invocation.showsProgress,
        done: { UInt64(counter.count) }
      ) {
        try await puts.run(counter: counter)
      }
      let elapsed = start.duration(to: clock.now) / .seconds(1)
      await puts.close()
      try await CheckCommands.cleanUp(prefix, invocation, connection)
      try judge(report, perSecond: Double(report.count) / elapsed, limit: limit)
    }
  }

  /// Prints the lines of the verdict; throws when it is bad.
  static func judge(_ report: LoadReport, perSecond: Double, limit: Int) throws {
    var isGood = true
    if !report.errors.isEmpty {
      Streams.print("FAIL: too many errors")
      for (text, count) in report.errors.sorted(by: { $0.key < $1.key }) {
        Streams.print("FAIL: ERROR(\(text)) -> \(count)")
      }
      isGood = false
    }
    if perSecond / Double(limit) <= throughputMin {
      Streams.print("FAIL: Throughput too low: \(Int(perSecond) + 1) writes/s")
      isGood = false
    } else {
      Streams.print("PASS: Throughput is \(Int(perSecond) + 1) writes/s")
    }
    let slowest = CheckCommands.decimal(report.slowest, 6)
    if report.slowest > slowestSecondsMax {
      Streams.print("Slowest request took too long: \(slowest)s")
      isGood = false
    } else {
      Streams.print("PASS: Slowest request took \(slowest)s")
    }
    let deviation = CheckCommands.decimal(report.standardDeviation, 6)
    if report.standardDeviation > deviationSecondsMax {
      Streams.print("Stddev too high: \(deviation)s")
      isGood = false
    } else {
      Streams.print("PASS: Stddev is \(deviation)s")
    }
    Streams.print(isGood ? "PASS" : "FAIL")
    if !isGood { throw Failure(.error, nil) }
  }
}

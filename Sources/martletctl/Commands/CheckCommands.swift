import MartletClient
import Proto
import Synchronization

/// `check ...`: loads that tell whether a cluster is fast enough.
enum CheckCommands {
  private static func flags(_ prefix: String) -> [Flag] {
    [
      Flag("auto-compact", .bool, "", "forget the history of the load afterwards"),
      Flag("auto-defrag", .bool, "", "give its space back afterwards"),
      Flag("load", .string, "s", "how much: s(mall), m(edium), l(arge) or xl(arge)"),
      Flag("prefix", .string, prefix, "what the keys of the load begin with"),
    ]
  }

  static let all = [
    Command(
      path: ["check", "perf"],
      usage: "[options]",
      summary: "writes for a minute and says whether that was fast enough",
      flags: flags("/etcdctl-check-perf/"),
      run: PerformanceCheck.run
    ),
    Command(
      path: ["check", "datascale"],
      usage: "[options]",
      summary: "writes much and says how much memory that takes",
      flags: flags("/etcdctl-check-datascale/"),
      run: DataScaleCheck.run
    ),
  ]

  /// The load that a letter or a word stands for.
  static func size(_ text: String) throws -> String {
    switch text {
    case "s", "small": return "s"
    case "m", "medium": return "m"
    case "l", "large": return "l"
    case "xl", "xLarge": return "xl"
    default: throw Failure(.badFeature, "unknown load option \(text)")
    }
  }

  static func checkEmpty(_ prefix: String, _ connection: Connection) async throws {
    var request = Etcdserverpb.RangeRequest(
      key: RawText.bytes(prefix),
      rangeEnd: KeyEnd.ofPrefix(RawText.bytes(prefix))
    )
    request.limit = 1
    guard try await connection.range(request).kvs.isEmpty else {
      throw Failure(
        .invalidInput,
        "prefix \(GoText.quoted(prefix)) has keys. "
          + "Delete with 'martletctl del --prefix \(prefix)' first."
      )
    }
  }

  /// Deletes the keys of the load, and does what the flags ask for.
  static func cleanUp(
    _ prefix: String,
    _ invocation: Invocation,
    _ connection: Connection
  ) async throws {
    let key = RawText.bytes(prefix)
    let request = Etcdserverpb.DeleteRangeRequest(key: key, rangeEnd: KeyEnd.ofPrefix(key))
    let response = try await connection.deleteRange(request)
    if invocation.flags.bool("auto-compact") {
      var request = Etcdserverpb.CompactionRequest()
      request.revision = response.header?.revision ?? 0
      Streams.print("Compacting with revision \(request.revision)")
      let _: Etcdserverpb.CompactionResponse = try await connection.call("KV/Compact", request)
      Streams.print("Compacted with revision \(request.revision)")
    }
    if invocation.flags.bool("auto-defrag") {
      for endpoint in try await Connection.endpoints(invocation.flags) {
        Streams.print("Defragmenting \(GoText.quoted(endpoint))")
        let _: Etcdserverpb.DefragmentResponse = try await connection.call(
          "Maintenance/Defragment",
          Etcdserverpb.DefragmentRequest(),
          at: endpoint
        )
        Streams.print("Defragmented \(GoText.quoted(endpoint))")
      }
    }
  }

  /// A number with so many digits behind the point.
  static func decimal(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int64((value * scale).rounded())
    let fraction = String(scaled % Int64(scale))
    let zeros = String(repeating: "0", count: max(0, digits - fraction.count))
    return "\(scaled / Int64(scale)).\(zeros)\(fraction)"
  }
}

/// What came of many calls.
struct LoadReport: Sendable {
  var count = 0
  /// Seconds.
  var slowest = 0.0
  var sum = 0.0
  var sumOfSquares = 0.0
  var errors: [String: Int] = [:]

  mutating func add(_ duration: Duration) {
    let seconds = duration / .seconds(1)
    count += 1
    slowest = max(slowest, seconds)
    sum += seconds
    sumOfSquares += seconds * seconds
  }

  mutating func add(_ error: ClientError) { errors[error.goText, default: 0] += 1 }

  mutating func merge(_ other: LoadReport) {
    count += other.count
    slowest = max(slowest, other.slowest)
    sum += other.sum
    sumOfSquares += other.sumOfSquares
    errors.merge(other.errors) { $0 + $1 }
  }

  var standardDeviation: Double {
    guard count > 0 else { return 0 }
    let mean = sum / Double(count)
    return max(0, sumOfSquares / Double(count) - mean * mean).squareRoot()
  }
}

/// Many tasks that put until there is nothing left to do.
struct PutLoad: Sendable {
  let connections: [Connection]
  let tasks: Int
  /// The request with that number; nil when there is no more.
  let request: @Sendable (Int) async throws -> Etcdserverpb.PutRequest?

  /// Connections are shared by so many tasks at least.
  static let connectionsMax = 50

  static func connections(_ invocation: Invocation, tasks: Int) async throws -> [Connection] {
    var connections: [Connection] = []
    for _ in 0..<min(tasks, connectionsMax) {
      connections.append(try await Connection(invocation))
    }
    return connections
  }

  func run(counter: Counter) async throws -> LoadReport {
    try await withThrowingTaskGroup(of: LoadReport.self) { group in
      for task in 0..<tasks {
        let connection = connections[task % connections.count]
        group.addTask {
          var report = LoadReport()
          while let request = try await self.request(counter.add(1)) {
            let start = ContinuousClock().now
            do throws(ClientError) {
              _ = try await connection.put(request)
              report.add(start.duration(to: ContinuousClock().now))
            } catch {
              report.add(error)
            }
          }
          return report
        }
      }
      var total = LoadReport()
      for try await report in group { total.merge(report) }
      return total
    }
  }

  func close() async {
    for connection in connections { await connection.client.close() }
  }
}

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
      let clock = ContinuousClock()
      let start = clock.now
      let progress = Task {
        let bar = ProgressBar("writing", total: UInt64(seconds))
        for second in 0..<seconds {
          bar.show(UInt64(second))
          guard (try? await Task.sleep(for: .seconds(1))) != nil else { break }
        }
        bar.clear()
      }
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
      let report = try await puts.run(counter: Counter())
      let elapsed = start.duration(to: clock.now) / .seconds(1)
      progress.cancel()
      await progress.value
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

/// `check datascale`.
enum DataScaleCheck {
  private static let loads: [String: (keys: Int, clients: Int)] = [
    "s": (10_000, 50), "m": (100_000, 200), "l": (1_000_000, 500), "xl": (3_000_000, 1000),
  ]
  private static let valueBytes = 1024
  private static let keyBytes = 256
  private static let metric = "process_resident_memory_bytes"

  static func run(_ invocation: Invocation) async throws {
    let load = try CheckCommands.size(invocation.flags["load"])
    guard let (keys, clients) = loads[load] else { preconditionFailure("no load \(load)") }
    let prefix = invocation.flags["prefix"]
    let endpoint = try await Connection.endpoints(invocation.flags)[0]
    try await invocation.withConnection { connection in
      try await CheckCommands.checkEmpty(prefix, connection)
      let before = try await memory(endpoint, "before")
      Streams.print(
        "Start data scale check for work load [\(keys) key-value pairs, \(valueBytes) bytes "
          + "per key-value, \(clients) concurrent clients]."
      )
      let counter = Counter()
      let progress = Task {
        let bar = ProgressBar("writing", total: UInt64(keys))
        while (try? await Task.sleep(for: .milliseconds(200))) != nil {
          bar.show(UInt64(min(counter.count, keys)))
        }
        bar.clear()
      }
      let puts = PutLoad(
        connections: try await PutLoad.connections(invocation, tasks: clients),
        tasks: clients
      ) { number in
        guard number < keys else { return nil }
        let random = (0..<keyBytes).map { _ in UInt8.random(in: .min ... .max) }
        return Etcdserverpb.PutRequest(
          key: RawText.bytes(prefix) + random,
          value: [UInt8](repeating: 0, count: valueBytes)
        )
      }
      let report = try await puts.run(counter: counter)
      progress.cancel()
      await progress.value
      await puts.close()
      let after = try await memory(endpoint, "after")
      try await CheckCommands.cleanUp(prefix, invocation, connection)
      guard report.errors.isEmpty else {
        Streams.print("FAIL: too many errors")
        for (text, count) in report.errors.sorted(by: { $0.key < $1.key }) {
          Streams.print("FAIL: ERROR(\(text)) -> \(count)")
        }
        throw Failure(.error, nil)
      }
      let megabytes = CheckCommands.decimal(max(0, after - before) / 1_048_576, 2)
      Streams.print("PASS: Approximate system memory used : \(megabytes) MB.")
    }
  }

  private static func memory(_ endpoint: String, _ when: String) async throws -> Double {
    let value = await Blocking.run { MetricsPage.value(of: metric, at: endpoint) }
    guard let value, value > 0 else {
      throw Failure(.error, "FAIL: Could not read \(metric) \(when) the put operations.")
    }
    return value
  }
}

import Proto
import Terminal

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
      let report = try await ProgressBar.follow(
        "writing",
        in: .items,
        of: UInt64(keys),
        isWanted: invocation.showsProgress,
        done: { UInt64(counter.count) }
      ) {
        try await puts.run(counter: counter)
      }
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

import Flags
import MartletClient
import Proto
import Terminal

/// `top`: what the members do, again and again.
enum TopCommand {
  static let all = [
    Command(
      path: ["top"],
      usage: "[options]",
      summary: "shows the members at work: rates, sizes, who leads",
      flags: [
        Flag("cluster", .bool, "true", "all members of the cluster, not only --endpoints"),
        Flag("count", .integer, "0", "end after so many rounds; 0 never"),
        Flag("interval", .duration, "1s", "the time between two rounds"),
      ],
      formats: .withoutProtobuf,
      run: run
    )
  ]

  /// A member at one moment.
  struct Sample: Sendable {
    var status: Etcdserverpb.StatusResponse
    var time: ContinuousClock.Instant
  }

  private static let intervalMin = Duration.milliseconds(100)

  private static func run(_ invocation: Invocation) async throws {
    let endpoints = try await Connection.endpoints(of: invocation)
    let connection = try await Connection(invocation, endpoints: endpoints)
    let interval = max(invocation.flags.duration("interval"), intervalMin)
    let rounds = invocation.flags.integer("count")
    var before: [String: Sample] = [:]
    var round: Int64 = 0
    while true {
      let now = await sample(endpoints, connection)
      if round > 0 { show(endpoints, before, now, invocation) }
      before = now.compactMapValues { try? $0.get() }
      if rounds > 0, round >= rounds { break }
      round += 1
      try await Task.sleep(for: interval)
    }
    await connection.client.close()
  }

  private static func sample(
    _ endpoints: [String],
    _ connection: Connection
  ) async -> [String: Result<Sample, ClientError>] {
    await withTaskGroup(of: (String, Result<Sample, ClientError>).self) { group in
      for endpoint in endpoints {
        group.addTask {
          do throws(ClientError) {
            let status = try await connection.status(endpoint)
            return (endpoint, .success(Sample(status: status, time: ContinuousClock().now)))
          } catch {
            return (endpoint, .failure(error))
          }
        }
      }
      var results: [String: Result<Sample, ClientError>] = [:]
      for await (endpoint, result) in group { results[endpoint] = result }
      return results
    }
  }

  static let headings = [
    "ENDPOINT", "ROLE", "TERM", "REVISION", "WRITES/S", "APPLIED/S", "BEHIND", "DB SIZE", "IN USE",
    "ERRORS",
  ]

  private static func show(
    _ endpoints: [String],
    _ before: [String: Sample],
    _ now: [String: Result<Sample, ClientError>],
    _ invocation: Invocation
  ) {
    let newest = now.values.compactMap { try? $0.get().status.raftIndex }.max() ?? 0
    let rows = endpoints.map { endpoint -> [String] in
      switch now[endpoint] {
      case .success(let sample): row(endpoint, before[endpoint], sample, newest: newest)
      case .failure(let error): [endpoint] + Array(repeating: "", count: 8) + [error.message]
      case nil: [endpoint] + Array(repeating: "", count: 9)
      }
    }
    switch invocation.format {
    case .json:
      invocation.printer.json(
        .array(
          rows.map { row in
            .object(zip(headings, row).map { (name: $0.0, value: JSONValue.string($0.1)) })
          }
        )
      )
    case .fields:
      FieldsText.print { text in
        for row in rows {
          for (name, value) in zip(headings, row) { text.add(name, quoted: value) }
          text.blank()
        }
      }
    case .simple, .table, .protobuf:
      if Streams.usesColour { Streams.print("\u{1b}[H\u{1b}[2J", terminator: "") }
      Streams.print(TextTable(headings: headings, rows: rows).text())
    }
  }

  /// What is shown of a member, with rates since `before`.
  static func row(
    _ endpoint: String,
    _ before: Sample?,
    _ now: Sample,
    newest: UInt64
  ) -> [String] {
    let status = now.status
    func rate(_ value: (Etcdserverpb.StatusResponse) -> Int64) -> String {
      guard let before else { return "" }
      let elapsed = before.time.duration(to: now.time) / .seconds(1)
      guard elapsed > 0 else { return "" }
      let change = Double(value(status) - value(before.status)) / elapsed
      return "\(Int64(max(0, change).rounded()))"
    }
    let isLeader = status.leader != 0 && status.leader == status.header?.memberID
    let behind = newest - min(newest, status.raftAppliedIndex)
    return [
      endpoint, status.isLearner ? "learner" : isLeader ? "leader" : "follower",
      "\(status.raftTerm)", "\(status.header?.revision ?? 0)",
      rate { $0.header?.revision ?? 0 },
      rate { Int64(clamping: $0.raftAppliedIndex) }, "\(behind)",
      ByteCount.text(max(0, status.dbSize)), ByteCount.text(max(0, status.dbSizeInUse)),
      status.errors.joined(separator: ", "),
    ]
  }
}

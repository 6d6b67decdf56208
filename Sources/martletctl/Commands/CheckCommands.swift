import MartletClient
import Proto

/// `check ...`: loads that tell whether a cluster is fast enough.
enum CheckCommands {
  private static func flags(_ prefix: String) -> [Flag] {
    [
      Flag("auto-compact", .bool, "", "forget the history of the load afterwards"),
      Flag("auto-defrag", .bool, "", "give its space back afterwards"),
      Flag(
        "load",
        .string,
        "s",
        "how much: s(mall), m(edium), l(arge) or xl(arge)",
        values: .words(["s", "m", "l", "xl"])
      ),
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

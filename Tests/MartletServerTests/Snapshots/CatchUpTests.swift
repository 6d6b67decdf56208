import MartletServer
import Proto
import RPC
import Testing

/// How far a member may lag before it gets a snapshot: --snapshot-count and
/// --snapshot-catchup-entries.
@Suite("Catching up", .serialized, .timeLimit(.minutes(10))) struct CatchUpTests {
  /// How many snapshots the members of a cluster have sent, and taken, after one of them missed
  /// `entries` entries.
  private static func snapshots(
    catchUpEntries: Int,
    missing entries: Int
  ) async throws -> (sent: Double, received: Double) {
    var counts = (sent: 0.0, received: 0.0)
    try await withCluster(3, peerURL: nil) { _, configuration in
      configuration.snapshotCount = 10
      configuration.snapshotCatchUpEntries = catchUpEntries
    } _: { cluster in
      try await cluster.put("first", "1")
      let lagging = (try await cluster.leader() + 1) % 3
      await cluster.stop(lagging)
      for number in 0..<entries { try await cluster.put("k", "\(number)") }
      try await cluster.start(lagging)
      try await cluster.expect("k", "\(entries - 1)", at: lagging)
      let name = "etcd_network_snapshot_"
      counts = try await eventually(within: 30, "what was sent is known to be received") {
        var (sent, received) = (0.0, 0.0)
        for index in cluster.indexes {
          let port = try cluster.port(of: index)
          let page = try await HTTPExchange.get("/metrics", port: port).body
          for line in page.split(separator: "\n") {
            let value = line.split(separator: " ").last.flatMap { Double($0) } ?? 0
            if line.hasPrefix("\(name)send_success{To=") { sent += value }
            if line.hasPrefix("\(name)receive_success{From=") { received += value }
          }
        }
        return sent == received ? (sent, received) : nil
      }
    }
    return counts
  }

  @Test("a member that missed more than is kept gets a snapshot, one that missed less does not")
  func window() async throws {
    let far = try await Self.snapshots(catchUpEntries: 5, missing: 60)
    #expect(far.sent >= 1)
    let near = try await Self.snapshots(catchUpEntries: 5000, missing: 60)
    #expect(near.sent == 0)
  }
}

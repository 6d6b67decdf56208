import MartletClient
import Testing

/// After a client is closed, nothing is left: no connection, no task, no memory.
@Suite struct ClosingTests {
  /// An object that should be gone.
  private struct Remains {
    weak var object: AnyObject?
  }

  @Test(arguments: ServerKind.single)
  func nothingIsLeft(server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(2, to: target) { proxies in
        var remains: [Remains] = []
        var watch: Watch?
        try await use(proxies, &remains, &watch)
        #expect(remains.count >= 8)
        // Connections are closed when `close` returns on this side, and then on the other.
        try await eventually { proxies.allSatisfy { $0.openCount == 0 } }
        // A watch that somebody still holds says that it is over, and holds no more than itself.
        await expectFailure(.closed) {
          for try await _ in try #require(watch) {}
        }
        watch = nil
        try await eventually { remains.allSatisfy { $0.object == nil } }
      }
    }
  }

  /// A client with everything under way that there is; closed.
  private func use(
    _ proxies: [FaultProxy],
    _ remains: inout [Remains],
    _ watch: inout Watch?
  ) async throws {
    let dead = FailoverTests.dead[0]
    var configuration = ClientConfiguration(endpoints: proxies.map(\.address) + [dead])
    configuration.memberSyncInterval = .seconds(3600)
    let client = try Client(configuration)
    for _ in 0..<6 { try await client.kv.put("a", "1") }
    let open = try await client.watch("a")
    watch = open
    let tasks = [
      Task { for try await _ in try await client.watch(.prefix("b")) {} },
      Task { for try await _ in client.elections.observe("chair") {} },
      // One of them has it, the other waits for it.
      Task { try await client.withLock("lock") { _ in try await Task.sleep(for: .seconds(600)) } },
      Task { try await client.withLock("lock") { _ in try await Task.sleep(for: .seconds(600)) } },
      Task { for try await _ in client.maintenance.snapshot() {} },
    ]
    try await eventually { try await client.kv.count(.prefix("lock/")) == 2 }
    try await eventually { client.sharedWatchStreamCount > 0 }
    // Endpoints that are named no more, with calls under way, belong to it too.
    try client.setEndpoints([proxies[1].address, dead])
    remains = client.parts.map { Remains(object: $0) }
    await client.close()
    for task in tasks { await ended(task) }
    #expect(client.sharedWatchStreamCount == 0)
  }

  /// Waits for the end of a task: it is the client's end, or nothing was left to do.
  private func ended(_ task: Task<Void, any Error>) async {
    do {
      try await task.value
    } catch let error as ClientError {
      #expect(error.code == .closed || error.code == .leaseLost, "\(error)")
    } catch {
      Issue.record("\(error)")
    }
  }

  /// One that is let go without being closed closes itself.
  @Test func lettingGoCloses() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        var remains: [Remains] = []
        try await forget(proxies[0], &remains)
        try await eventually { proxies[0].openCount == 0 }
        try await eventually { remains.allSatisfy { $0.object == nil } }
      }
    }
  }

  private func forget(_ proxy: FaultProxy, _ remains: inout [Remains]) async throws {
    let client = try Client(endpoints: [proxy.address])
    try await client.kv.put("a", "1")
    _ = try await client.watch("a")
    remains = client.parts.map { Remains(object: $0) }
    #expect(proxy.openCount == 1)
  }
}

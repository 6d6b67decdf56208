import MartletClient
import Synchronization
import Testing

@Suite struct SampleTests {
  @Test(arguments: ServerKind.available)
  func theProgramOfTheReadmeRuns(server: ServerKind) async throws {
    try await server.run { address in
      let lines = Mutex<[String]>([])
      try await eventually {
        // A server that has just been started may not answer at first.
        try await reachable(address)
      }
      try await Sample.main(["http://\(address)"]) { line in lines.withLock { $0.append(line) } }
      #expect(
        lines.withLock { $0.sorted() }
          == ["claimed", "hello", "put jobs/1 = mine", "put jobs/done = yes"]
      )
    }
  }

  private func reachable(_ address: String) async throws -> Bool {
    var isReachable = false
    try await withClient([address]) { client in
      isReachable = (try? await client.kv.get("a")) ?? nil == nil
    }
    return isReachable
  }
}

import MartletClient
import Synchronization
import Testing

/// What the programs of the guide print.
@Suite struct GuideSamplesTests {
  @Test(arguments: ServerKind.available)
  func theProgramsOfTheGuideRun(server: ServerKind) async throws {
    try await server.withClient { client in
      let lines = Mutex<[String]>([])
      let samples = GuideSamples(client: client) { line in lines.withLock { $0.append(line) } }
      func printed(_ program: () async throws -> Void) async throws -> [String] {
        try await program()
        return lines.withLock { lines in
          defer { lines = [] }
          return lines
        }
      }

      let keys = try await printed(samples.keys)
      #expect(keys.first?.hasPrefix("12 apples, changed at revision ") == true)
      #expect(
        keys.dropFirst() == [
          "shop/apples = 12", "shop/pears = 3", "shop/apples", "shop/pears", "1 key",
        ]
      )
      #expect(try await printed(samples.codable) == ["apples"])
      #expect(try await printed(samples.transactions) == ["claimed"])
      #expect(try await client.kv.get("count")?.text == "1")
      #expect(
        try await printed(samples.watch) == ["config/colour is blue", "config/colour is gone"]
      )
      #expect(try await printed(samples.leases) == ["serving", "0 services"])
      #expect(try await printed(samples.locks) == ["written", "leading, token at hand"])
      #expect(try await printed(samples.errors) == ["refused: keyNotFound"])
      #expect(try await printed(samples.namespaces) == ["red"])
    }
  }

  @Test func aMemberRunsInAProgram() async throws {
    let folder = try TestFolder()
    try await GuideSamples.embedded("\(folder.path)/data")
  }

  /// The files of TLS are read at once, and these are not there.
  @Test func aMissingFileOfTLSIsSaidBeforeAnythingIsSent() {
    let error = #expect(throws: ClientError.self) { try GuideSamples.connect() }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains("certs/") == true)
  }
}

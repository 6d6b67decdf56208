import MartletClient
import Testing

/// Encrypted connections: who is trusted, and who is let in.
@Suite struct TLSTests {
  private func expectAccess(_ target: String, _ tls: ClientConfiguration.TLS) async throws {
    try await withClient(["https://\(target)"], \.tls, tls) { client in
      try await client.kv.put("a", "1")
      let watch = try await client.watch("a")
      try await client.kv.put("a", "2")
      var events = watch.makeAsyncIterator()
      #expect(try await events.next()?.keyValue.text == "2")
    }
  }

  /// Nothing was done, and the error says what is wrong with the connection.
  private func expectNoAccess(
    _ target: String,
    _ tls: ClientConfiguration.TLS?,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await withClient(["https://\(target)"], \.tls, tls) { client in
      await expectFailure(.unavailable, sourceLocation: sourceLocation) {
        _ = try await client.kv.withDeadline(.milliseconds(500)).get("a")
      }
    }
  }

  @Test(arguments: ServerKind.single)
  func membersAreTrustedByTheirAuthority(server: ServerKind) async throws {
    let files = try TLSFolder()
    try await files.run(server, requiresCertificate: false) { target in
      try await expectAccess(target, files.client())
      // The system's authorities know nothing of ours.
      try await expectNoAccess(target, nil)
      // One who signed nothing here.
      var stranger = files.client()
      stranger.authoritiesFile = files.path("alice.pem")
      try await expectNoAccess(target, stranger)
      // The certificate is for localhost and 127.0.0.1.
      var misnamed = files.client()
      misnamed.serverName = "elsewhere.example"
      try await expectNoAccess(target, misnamed)
      misnamed.serverName = "localhost"
      try await expectAccess(target, misnamed)
    }
  }

  @Test(arguments: ServerKind.single)
  func membersMayAskForACertificate(server: ServerKind) async throws {
    let files = try TLSFolder()
    try await files.run(server, requiresCertificate: true) { target in
      try await expectAccess(target, files.client(showing: "alice"))
      try await expectNoAccess(target, files.client())
    }
  }

  @Test func whatCannotBeUsedIsRefusedAtOnce() async throws {
    let files = try TLSFolder()
    var mismatch = files.client(showing: "alice")
    mismatch.keyFile = files.path("server.key")
    var keyless = files.client(showing: "alice")
    keyless.keyFile = ""
    for tls in [mismatch, keyless] {
      await expectFailure(.invalidArgument, .refused) {
        var configuration = ClientConfiguration(endpoints: ["127.0.0.1:1"])
        configuration.tls = tls
        _ = try Client(configuration)
      }
    }
  }
}

import MartletClient
import MartletServer
import Testing

@Suite struct AdministrationTests {
  @Test(arguments: ServerKind.single)
  func membersAndMaintenance(server: ServerKind) async throws {
    try await server.withClient { client in
      try await client.kv.put("a", "1")
      let status = try await client.maintenance.status(of: client.endpoints[0])
      #expect(status.leader == status.header.memberID)
      #expect(status.databaseBytes > 0 && !status.version.isEmpty && !status.isLearner)
      let members = try await client.cluster.members(isLinearizable: false).members
      #expect(members.map(\.id) == [status.leader])
      #expect(members.allSatisfy { !$0.isLearner && $0.name == "default" })
      let hash = try await client.maintenance.hash()
      #expect(try await client.maintenance.hash().hash == hash.hash)
      try await client.kv.put("a", "2")
      #expect(try await client.maintenance.hash().hash != hash.hash)
      try await client.maintenance.defragment()
      let alarm = Maintenance.Alarm(member: status.leader, kind: .noSpace)
      #expect(try await client.maintenance.alarms().isEmpty)
      try await client.maintenance.raise(alarm)
      #expect(try await client.maintenance.alarms() == [alarm])
      await expectFailure(.noSpace, .refused) { try await client.kv.put("a", "3") }
      #expect(try await client.maintenance.disarm(alarm) == [alarm])
      try await client.kv.put("a", "3")
      await expectFailure(.badLeaderTransferee) {
        try await client.maintenance.moveLeader(to: MemberID(rawValue: 5))
      }
      if server.etcdPath != nil {
        await expectFailure(.memberNotFound) {
          try await client.cluster.remove(MemberID(rawValue: 5))
        }
      }
      await expectFailure(.invalidArgument) {
        _ = try await client.maintenance.status(of: "nowhere:1")
      }
    }
  }

  @Test(arguments: ServerKind.available)
  func aSnapshotIsReadPieceByPiece(server: ServerKind) async throws {
    try await server.withClient { client in
      for number in 0..<20 { try await client.kv.put("k\(number)", bytes(100 << 10)) }
      var byteCount: UInt64 = 0
      var remaining: UInt64?
      for try await piece in client.maintenance.snapshot() {
        byteCount += UInt64(piece.bytes.count)
        if let before = remaining { #expect(piece.remainingBytes <= before) }
        remaining = piece.remainingBytes
      }
      #expect(remaining == 0)
      #expect(byteCount > 20 * 100 << 10)
      // Leaving in the middle leaves the client usable.
      for try await _ in client.maintenance.snapshot() { break }
      try await client.kv.put("after", "1")
    }
  }

  private func bytes(_ count: Int) -> [UInt8] {
    [UInt8](repeating: 1, count: count)
  }

  @Test(arguments: ServerKind.available)
  func usersRolesAndTokens(server: ServerKind) async throws {
    try await server.run { target in
      try await withClient([target]) { setup in
        await expectFailure(.rootUserMissing) { try await setup.auth.enable() }
        try await setup.auth.addUser("root", password: "r")
        try await setup.auth.grantRole("root", to: "root")
        try await setup.auth.addUser("alice", password: "a")
        try await setup.auth.addRole("app")
        try await setup.auth.grant(.init(.readWrite, .prefix("app/")), to: "app")
        try await setup.auth.grantRole("app", to: "alice")
        #expect(try await setup.auth.users() == ["alice", "root"])
        #expect(try await setup.auth.roles(of: "alice") == ["app"])
        #expect(
          try await setup.auth.permissions(of: "app") == [.init(.readWrite, .prefix("app/"))]
        )
        // Made before authentication is switched on: it finds out by itself.
        try await withUser("alice", "a", target) { alice in
          try await alice.kv.put("app/a", "0")
          try await setup.auth.enable()
          try await withUser("root", "r", target) { root in
            try await alice.kv.put("app/a", "1")
            await expectFailure(.permissionDenied, .refused) {
              try await alice.kv.put("other", "1")
            }
            await expectFailure(.permissionDenied) { _ = try await alice.watch("other") }
            let watch = try await alice.watch("app/a")
            // Every change of users and roles makes older tokens worthless.
            for number in 0..<3 {
              try await root.auth.addRole("role\(number)")
              try await alice.kv.put("app/a", "again \(number)")
            }
            var texts: [String] = []
            for try await event in watch {
              texts.append(event.keyValue.text)
              if texts.count == 3 { break }
            }
            #expect(texts == ["again 0", "again 1", "again 2"])
            try await withUser("alice", "wrong", target) { stranger in
              await expectFailure(.authenticationFailed) {
                _ = try await stranger.kv.get("app/a")
              }
            }
            await expectFailure(.userNameEmpty) { _ = try await setup.kv.get("app/a") }
            try await root.auth.revoke(.prefix("app/"), from: "app")
            await expectFailure(.permissionDenied) { _ = try await alice.kv.get("app/a") }
            try await root.auth.revokeRole("app", from: "alice")
            try await root.auth.removeRole("app")
            try await root.auth.changePassword(of: "alice", to: "b")
            try await root.auth.removeUser("alice")
            try await root.auth.disable()
          }
        }
      }
    }
  }

  @Test func encryptedConnections() async throws {
    try await withMember(encrypt) { _, target in
      try await withClient(["https://\(target)"], \.tls, trusting) { client in
        try await client.kv.put("a", "1")
        #expect(try await client.kv.get("a")?.text == "1")
      }
      // Nobody vouches for the member's own certificate.
      try await withClient(["https://\(target)"]) { client in
        await expectFailure(.unavailable) {
          _ = try await client.kv.withDeadline(.milliseconds(500)).get("a")
        }
      }
    }
    await expectFailure(.invalidArgument) {
      var configuration = ClientConfiguration(endpoints: ["https://127.0.0.1:1"])
      configuration.tls = .init(authoritiesFile: "/nonexistent.pem")
      _ = try Client(configuration)
    }
  }

  private func encrypt(_ configuration: inout ServerConfiguration) {
    configuration.listenClientURLs = ["https://127.0.0.1:0"]
    configuration.clientTLS.isAutomatic = true
  }

  private func withUser(
    _ name: String,
    _ password: String,
    _ target: String,
    _ body: (Client) async throws -> Void
  ) async throws {
    let credentials = ClientConfiguration.Credentials(username: name, password: password)
    try await withClient([target], \.credentials, credentials, body)
  }

  private var trusting: ClientConfiguration.TLS {
    var tls = ClientConfiguration.TLS()
    tls.skipsVerification = true
    return tls
  }
}

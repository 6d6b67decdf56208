import MartletServer
import Proto
import RPC
import Testing

/// Founders that find each other by the keys of a discovery service, which is a member as any other.
@Suite("Discovery by an etcd cluster", .serialized, .timeLimit(.minutes(10)))
struct RegistryDiscoveryTests {
  private static let prefix = "/_etcd/registry/"

  private static func settings(_ service: TestMember, _ token: String) -> DiscoverySettings {
    var settings = DiscoverySettings()
    settings.endpoints = ["http://127.0.0.1:\(service.port)"]
    settings.token = token
    return settings
  }

  private static func size(_ size: String, _ token: String, at service: TestMember) async throws {
    _ = try await service.kv.put(.init("\(prefix)\(token)/_config/size", size))
  }

  private static func registered(_ token: String, at service: TestMember) async throws -> [String] {
    let start = "\(prefix)\(token)/members/"
    let found = try await service.kv.range(.init(start, String(start.dropLast()) + "0"))
    return found.kvs.map(\.text)
  }

  /// Why a member does not start with these settings.
  private static func refusal(_ settings: DiscoverySettings) async throws -> String {
    let folder = try TemporaryFolder()
    do {
      let member = try await TestMember.start(in: folder) { configuration in
        configuration.discoveryService = settings
        configuration.initialAdvertisePeerURLs = ["http://127.0.0.1:7"]
      }
      await member.stop()
      return "it has started"
    } catch let error as StartError {
      return "\(error)"
    }
  }

  @Test("three members found a cluster; a fourth is told that it is full")
  func founds() async throws {
    try await withMember { service in
      try await Self.size("3", "blue/1", at: service)
      let settings = Self.settings(service, "blue/1")
      let cluster = try TestCluster(3, peerURL: nil) { _, configuration in
        configuration.initialCluster = "nobody=http://127.0.0.1:1"
        configuration.discoveryService = settings
      }
      do {
        try await cluster.start([0, 1, 2])
        try await Self.check(cluster, service)
      } catch {
        await cluster.stopAll()
        throw error
      }
      await cluster.stopAll()
    }
  }

  private static func check(_ cluster: TestCluster, _ service: TestMember) async throws {
    let list = try await cluster.node(0).cluster.memberList(.init(linearizable: true))
    #expect(Set(list.members.map(\.name)) == ["a", "b", "c"])
    let registered = try await registered("blue/1", at: service)
    let expected = list.members.map { member in
      "\(prefix)blue/1/members/\(String(member.id, radix: 16))=\(member.name)=\(member.peerURLs[0])"
    }
    #expect(Set(registered) == Set(expected))
    #expect(try await refusal(settings(service, "blue/1")).contains("discovery: cluster is full"))
    #expect(try await self.registered("blue/1", at: service).count == 3)
    // A member that has data asks nobody, nor does one whose token the service has forgotten.
    _ = try await service.kv.deleteRange(.init(key: [0], rangeEnd: [0]))
    await cluster.stop(1)
    try await cluster.start(1)
    try await cluster.put("after", "1")
    try await cluster.expect("after", "1", at: 1)
    #expect(try await self.registered("blue/1", at: service).isEmpty)
  }

  @Test("who registered first is in, in that order; a second try of one member counts once")
  func order() async throws {
    try await withMember { service in
      try await Self.size("1", "t", at: service)
      let settings = Self.settings(service, "t")
      let folder = try TemporaryFolder()
      for attempt in 1...2 {
        // Without its data it is the same member, and may register again.
        let member = try await TestMember.start(in: folder) { configuration in
          configuration.dataDirectory = "\(folder.path)/data\(attempt)"
          configuration.discoveryService = settings
        }
        let list = try await member.cluster.memberList(.init())
        #expect(list.members.map(\.name) == ["default"])
        await member.stop()
        #expect(try await Self.registered("t", at: service).count == 1)
      }
      // The cluster was made larger in the meantime, which lets another in.
      #expect(try await Self.refusal(settings).contains("cluster is full"))
      try await Self.size("2", "t", at: service)
      #expect(try await Self.refusal(settings).contains("members of one name"))
    }
  }

  @Test("what is wrong at the service is said")
  func refused() async throws {
    try await withMember { service in
      let settings = Self.settings(service, "t")
      #expect(try await Self.refusal(settings).contains("discovery: size key not found"))
      for size in ["", "0", "-1", "three", "65", "99999999999999999999"] {
        try await Self.size(size, "t", at: service)
        #expect(try await Self.refusal(settings).contains("size key is bad"), "\(size)")
      }
      try await Self.size("2", "t", at: service)
      let start = "\(Self.prefix)t/members/"
      // One of the same address, and one that is no registration at all.
      _ = try await service.kv.put(.init("\(start)1", "no equals sign"))
      _ = try await service.kv.put(.init("\(start)2", "other=http://127.0.0.1:7"))
      #expect(try await Self.refusal(settings).contains("is given more than once"))
      _ = try await service.kv.put(.init("\(start)2", "other=nonsense"))
      #expect(try await Self.refusal(settings).contains("discovery: invalid peer URL"))
    }
  }

  @Test("by TLS, with a user and a password")
  func secured() async throws {
    try await withMember { configuration in
      configuration.clientTLS.isAutomatic = true
      configuration.listenClientURLs = ["http://127.0.0.1:0", "https://127.0.0.1:0"]
    } _: { service in
      try await Self.size("1", "t", at: service)
      let auth = AuthClient(service.client)
      _ = try await auth.userAdd(.init(name: "root", password: "r"))
      _ = try await auth.userGrantRole(.init(user: "root", role: "root"))
      _ = try await auth.userAdd(.init(name: "nobody", password: "n"))
      _ = try await auth.authEnable(.init())
      var settings = Self.settings(service, "t")
      let address = try #require(service.member.clientAddresses.last)
      settings.endpoints = ["127.0.0.1:9", address]
      settings.isPlain = false
      settings.skipsVerification = true
      #expect(try await Self.refusal(settings).contains("user name is empty"))
      settings.user = "root:wrong"
      #expect(try await Self.refusal(settings).contains("invalid user ID or password"))
      (settings.user, settings.password) = ("nobody", "n")
      #expect(try await Self.refusal(settings).contains("permission denied"))
      settings.user = "root"
      settings.password = "r"
      let good = settings
      try await withMember {
        $0.discoveryService = good
      } _: { member in
        _ = try await member.kv.put(.init("a", "1"))
      }
    }
  }
}

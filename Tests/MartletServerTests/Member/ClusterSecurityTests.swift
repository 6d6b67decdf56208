import Base
import Glibc
import Logging
import MartletServer
import Proto
import RPC
import Testing

/// TLS between the members of a cluster.
@Suite(.timeLimit(.minutes(10))) struct ClusterSecurityTests {
  /// Ports that nobody has at the moment, and that the system gives to nobody who lets it choose.
  static func freePorts(_ count: Int) throws -> [Int] {
    var ports: Set<Int> = []
    for _ in 0..<1000 where ports.count < count {
      let port = Int.random(in: 12_000..<32_000)
      if try isFree(port) { ports.insert(port) }
    }
    try #require(ports.count == count)
    return Array(ports)
  }

  private static func isFree(_ port: Int) throws -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let length = socklen_t(MemoryLayout<sockaddr_in>.size)
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0
      }
    }
  }

  @Test func membersWithCertificatesTalk() async throws {
    let files = try TemporaryFolder()
    let authority = try files.write(TestCertificates.authority, to: "ca.pem")
    let certificate = try files.write(TestCertificates.server, to: "server.pem")
    let key = try files.write(TestCertificates.serverKey, to: "server.key")
    let ports = try Self.freePorts(3)
    @Sendable func url(_ index: Int) -> String { "https://127.0.0.1:\(ports[index])" }
    @Sendable func secure(_ index: Int, _ configuration: inout ServerConfiguration) {
      configuration.peerTLS.certificateFile = certificate
      configuration.peerTLS.keyFile = key
      configuration.peerTLS.trustedCAFile = authority
      configuration.peerTLS.requiresClientCertificate = true
      configuration.peerTLS.allowedCommonName = "server"
    }
    try await withCluster(3, peerURL: url, secure) { cluster in
      try await cluster.put("secret", "1")
      for index in 0..<3 { try await cluster.expect("secret", "1", at: index) }
      // Who has no certificate does not get in.
      let client = RPCClient(address: .host("127.0.0.1", port: ports[0]), group: TestMember.group)
      await #expect(throws: RPCError.self) {
        _ = try await PeerClient(client).clusterState(Martletpb.ClusterStateRequest())
      }
      await client.shutdown()
    }
    withExtendedLifetime(files) {}
  }

  @Test func membersMakeCertificatesForThemselves() async throws {
    let ports = try Self.freePorts(3)
    @Sendable func url(_ index: Int) -> String { "https://127.0.0.1:\(ports[index])" }
    @Sendable func secure(_ index: Int, _ configuration: inout ServerConfiguration) {
      configuration.peerTLS.isAutomatic = true
    }
    try await withCluster(3, peerURL: url, secure) { cluster in
      try await cluster.put("secret", "2")
      for index in 0..<3 { try await cluster.expect("secret", "2", at: index) }
    }
  }

  @Test func whatCannotBeIsSaidAtTheStart() async throws {
    var configuration = ServerConfiguration()
    configuration.listenPeerURLs = ["https://127.0.0.1:0"]
    #expect(throws: ConfigurationError.self) { try configuration.validate() }
    configuration.listenPeerURLs = ["http://127.0.0.1:0"]
    configuration.peerTLS.certificateFile = "only.pem"
    #expect(throws: ConfigurationError.self) { try configuration.validate() }
  }

  /// A lone member listens for those who may join it, and says when it cannot.
  @Test func aTakenPeerAddressIsAnError() async throws {
    try await withMember { member in
      let taken = try #require(member.member.peerAddresses.first)
      let folder = try TemporaryFolder()
      var configuration = TestMember.configuration(in: folder)
      configuration.listenPeerURLs = ["http://\(taken)"]
      do {
        let second = try await EmbeddedMember.start(configuration, logger: TestMember.silentLogger)
        Issue.record("two members listen on \(taken)")
        await second.stop()
      } catch {
        #expect("\(error)".hasPrefix("cannot listen on http://\(taken)"))
      }
    }
  }
}

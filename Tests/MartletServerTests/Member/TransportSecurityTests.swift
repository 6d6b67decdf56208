import Base
import Logging
import MartletServer
import NIOCore
import NIOPosix
import Proto
import RPC
import TLS
import Testing

/// TLS of a member and of RPC, in this process.
@Suite("A running member: TLS")
struct TransportSecurityTests {
  /// The test certificates as files.
  struct Files {
    let folder: TemporaryFolder
    let authority: String
    let server: (certificate: String, key: String)
    let alice: (certificate: String, key: String)

    init() throws {
      folder = try TemporaryFolder()
      authority = try folder.write(TestCertificates.authority, to: "ca.pem")
      server = (
        try folder.write(TestCertificates.server, to: "server.pem"),
        try folder.write(TestCertificates.serverKey, to: "server.key")
      )
      alice = (
        try folder.write(TestCertificates.alice, to: "alice.pem"),
        try folder.write(TestCertificates.aliceKey, to: "alice.key")
      )
    }

    func client(port: Int, isAlice: Bool) throws -> RPCClient {
      var settings = ClientTLSSettings()
      settings.authoritiesFile = authority
      if isAlice { (settings.certificateFile, settings.keyFile) = alice }
      let tls = try ClientTLS(settings)
      var configuration = RPCClientConfiguration()
      configuration.isSecure = true
      configuration.setup = { try tls.install(on: $0, host: "localhost") }
      return RPCClient(
        address: .host("127.0.0.1", port: port),
        group: TestMember.group,
        configuration: configuration
      )
    }
  }

  private func port(_ address: String?) throws -> Int {
    try #require(address.flatMap { $0.split(separator: ":").last }.flatMap { Int($0) })
  }

  @Test("clients with a certificate are served, others are not, and plain addresses beside it are")
  func mutual() async throws {
    let files = try Files()
    try await withMember { configuration in
      configuration.listenClientURLs = ["https://127.0.0.1:0"]
      configuration.listenClientHTTPURLs = ["http://127.0.0.1:0"]
      configuration.listenMetricsURLs = ["http://localhost:0"]
      configuration.clientTLS.certificateFile = files.server.certificate
      configuration.clientTLS.keyFile = files.server.key
      configuration.clientTLS.trustedCAFile = files.authority
      configuration.clientTLS.requiresClientCertificate = true
    } _: { member in
      let alice = try files.client(port: member.port, isAlice: true)
      _ = try await KVClient(alice).put(Etcdserverpb.PutRequest("k", "v"))
      let answer = try await KVClient(alice).range(Etcdserverpb.RangeRequest("k"))
      #expect(answer.kvs.map(\.text) == ["k=v"])
      await alice.shutdown()
      let nobody = try files.client(port: member.port, isAlice: false)
      await expectFailure(.unavailable) {
        _ = try await KVClient(nobody).range(Etcdserverpb.RangeRequest("k"))
      }
      await nobody.shutdown()
      await expectFailure(.unavailable) {
        _ = try await member.kv.range(Etcdserverpb.RangeRequest("k"))
      }
      for address in [member.member.clientHTTPAddresses, member.member.metricsAddresses] {
        let health = try await HTTPExchange.get("/health", port: try port(address.first))
        #expect(health.status == 200)
      }
    }
  }

  @Test("a certificate of its own is in the data directory and kept")
  func automatic() async throws {
    let folder = try TemporaryFolder()
    var made: [String] = []
    for _ in 0..<2 {
      let member = try await TestMember.start(in: folder) { configuration in
        configuration.listenClientURLs = ["https://localhost:0"]
        configuration.clientTLS.isAutomatic = true
      }
      let file = "\(folder.path)/data/fixtures/client/cert.pem"
      made.append(try TemporaryFolder.read(file))
      var settings = ClientTLSSettings()
      settings.authoritiesFile = file
      let tls = try ClientTLS(settings)
      var configuration = RPCClientConfiguration()
      configuration.setup = { try tls.install(on: $0, host: "localhost") }
      let client = RPCClient(
        address: .host("localhost", port: member.port),
        group: TestMember.group,
        configuration: configuration
      )
      _ = try await KVClient(client).put(Etcdserverpb.PutRequest("k", "v"))
      await client.shutdown()
      await member.stop()
    }
    #expect(made[0] == made[1])
  }

  @Test("a member whose certificate cannot be read does not start, and lets its directory go")
  func unreadable() async throws {
    let files = try Files()
    let folder = try TemporaryFolder()
    for key in ["/does/not/exist", files.alice.key] {
      let error = await #expect(throws: TLSError.self) {
        _ = try await TestMember.start(in: folder) { configuration in
          configuration.clientTLS.certificateFile = files.server.certificate
          configuration.clientTLS.keyFile = key
        }
      }
      #expect("\(String(describing: error))".contains(key))
    }
    let member = try await TestMember.start(in: folder)
    await member.stop()
  }

  /// Answers with the common name of the call's client.
  struct NameDispatcher: ServiceDispatcher {
    static let path = "/test.Name/Get"
    static let methods = [
      MethodInfo(path: path, requestStreaming: false, responseStreaming: false)
    ]

    func start(_ method: Int, _ call: ServerCall) {}
    func receive(
      _ method: Int,
      _ message: UnsafeRawBufferPointer,
      _ call: ServerCall,
      _ arena: Arena
    ) {
      call.finish(RPCStatus(.aborted, call.peerCommonName ?? "nobody"))
    }
    func halfClose(_ method: Int, _ call: ServerCall) {}
    func cancel(_ method: Int, _ call: ServerCall) {}
  }

  @Test("calls know the common name of a verified certificate", arguments: [true, false])
  func commonName(isAsked: Bool) async throws {
    let files = try Files()
    var settings = TLSSettings(certificateFile: files.server.certificate, keyFile: files.server.key)
    settings.authoritiesFile = files.authority
    settings.requiresClientCertificate = true
    settings.identifiesClients = isAsked
    let tls = try ServerTLS(settings, logger: TestMember.silentLogger)
    let server = RPCServer(group: TestMember.group)
    try await server.start { $0.register(NameDispatcher()) }
    let address = try await server.listen(on: .host("127.0.0.1", port: 0)) { channel in
      try tls.install(on: channel) { PeerIdentity(commonName: $0) }
    }
    let client = try files.client(port: address?.port ?? 0, isAlice: true)
    for _ in 0..<2 {
      await expectFailure(.aborted, isAsked ? "alice" : "nobody") {
        let _: Etcdserverpb.PutResponse = try await client.unary(
          MethodPath(NameDispatcher.path),
          Etcdserverpb.PutRequest("k", "v")
        )
      }
    }
    await client.shutdown()
    await server.drain(timeout: .milliseconds(1))
  }
}

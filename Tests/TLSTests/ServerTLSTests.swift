import Foundation
import NIOCore
import NIOSSL
import TLS
import Testing
import X509

/// A server's TLS against a real client: what it shows, and whom it lets in.
@Suite struct ServerTLSTests {
  /// An authority, a server's certificate of it, and files of both.
  struct Setup {
    let folder: Folder
    let authority: Authority
    let server: Issued
    var settings: TLSSettings
    let log = LogLines()

    init() throws {
      folder = try Folder()
      authority = try Authority()
      server = try authority.issue("server")
      settings = TLSSettings(
        certificateFile: try folder.write("cert.pem", try server.pem),
        keyFile: try folder.write("key.pem", try server.keyPEM)
      )
    }

    /// Asks clients for certificates of the authority.
    mutating func askClients() throws {
      settings.requiresClientCertificate = true
      settings.identifiesClients = true
      settings.authoritiesFile = try folder.write("ca.pem", try authority.pem)
    }

    func client(_ issued: Issued? = nil) throws -> TLSConfiguration {
      var client = TLSConfiguration.makeClientConfiguration()
      client.trustRoots = .certificates(
        try NIOSSLCertificate.fromPEMBytes(Array(authority.pem.utf8))
      )
      if let issued {
        client.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(issued.pem.utf8))
          .map { .certificate($0) }
        client.privateKey = .privateKey(
          try NIOSSLPrivateKey(bytes: Array(issued.keyPEM.utf8), format: .pem)
        )
      }
      return client
    }

    /// Runs `body` with a listening socket.
    func listen(
      acceptsPlain: Bool = false,
      _ body: (TLSListener, ServerTLS) async throws -> Void
    ) async throws {
      let tls = try ServerTLS(settings, logger: log.logger)
      let listener = try await TLSListener(tls, acceptsPlain: acceptsPlain)
      do {
        try await body(listener, tls)
      } catch {
        await listener.close()
        throw error
      }
      await listener.close()
    }
  }

  private func expectRefused(
    _ cause: String,
    _ log: LogLines,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Greeting
  ) async {
    let before = log.count(cause)
    do {
      let greeting = try await body()
      Issue.record("served as \(greeting.text)", sourceLocation: sourceLocation)
    } catch {
      #expect(log.count(cause) > before, "\(log.all)", sourceLocation: sourceLocation)
    }
  }

  @Test func showsItsCertificateForNameAndAddress() async throws {
    let setup = try Setup()
    try await setup.listen { listener, _ in
      for host in [nil, "localhost"] {
        let greeting = try await listener.greet(try setup.client(), host: host)
        #expect(greeting.text == "nobody")
        #expect(greeting.serial == Array(setup.server.certificate.serialNumber.bytes))
        #expect(greeting.version == .tlsv13)
      }
    }
  }

  @Test func versionsAreBounded() async throws {
    var setup = try Setup()
    setup.settings.newestVersion = .tls12
    setup.settings.cipherSuites = [
      try CipherSuite(named: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
      try CipherSuite(named: "TLS_AES_128_GCM_SHA256"),
    ]
    try await setup.listen { listener, _ in
      try await listener.expectVersion(.tlsv12, for: try setup.client())
      var other = try setup.client()
      other.cipherSuiteValues = [.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
      await expectRefused("no shared cipher", setup.log) { try await listener.greet(other) }
      other = try setup.client()
      other.minimumTLSVersion = .tlsv13
      await expectRefused("unsupported protocol", setup.log) { try await listener.greet(other) }
    }
    setup.settings.newestVersion = .tls13
    setup.settings.cipherSuites = [try CipherSuite(named: "TLS_AES_128_GCM_SHA256")]
    try await setup.listen { listener, _ in
      try await listener.expectVersion(.tlsv13, for: try setup.client())
      var old = try setup.client()
      old.maximumTLSVersion = .tlsv12
      await expectRefused("unsupported protocol", setup.log) { try await listener.greet(old) }
    }
  }

  @Test func clientsAreVerifiedAndNamed() async throws {
    var setup = try Setup()
    try setup.askClients()
    let alice = try setup.authority.issue("alice")
    let stranger = try Authority().issue("alice")
    let nameless = try setup.authority.issue("")
    try await setup.listen { listener, _ in
      try await listener.expectGreeting("alice", for: try setup.client(alice))
      try await listener.expectGreeting("nobody", for: try setup.client(nameless))
      await expectRefused("did not return a certificate", setup.log) {
        try await listener.greet(try setup.client())
      }
      await expectRefused("certificate verify failed", setup.log) {
        try await listener.greet(try setup.client(stranger))
      }
      let late = try setup.authority.issue("alice", end: Date() - 60)
      await expectRefused("certificate verify failed", setup.log) {
        try await listener.greet(try setup.client(late))
      }
    }
    setup.settings.identifiesClients = false
    try await setup.listen { listener, _ in
      try await listener.expectGreeting("nobody", for: try setup.client(alice))
    }
  }

  @Test func hostAndCommonNamesAreHeldToThoseAllowed() async throws {
    var setup = try Setup()
    try setup.askClients()
    let alice = try setup.authority.issue("alice", names: ["*.example.com"], addresses: [])
    let bob = try setup.authority.issue("bob", names: [], addresses: [[10, 0, 0, 1]])
    setup.settings.allowedHostNames = ["nobody.org", "a.example.com"]
    try await setup.listen { listener, _ in
      try await listener.expectGreeting("alice", for: try setup.client(alice))
      await expectRefused("none of the allowed host names", setup.log) {
        try await listener.greet(try setup.client(bob))
      }
    }
    setup.settings.allowedHostNames = ["10.0.0.1"]
    try await setup.listen { listener, _ in
      try await listener.expectGreeting("bob", for: try setup.client(bob))
    }
    setup.settings.allowedHostNames = []
    setup.settings.allowedCommonName = "bob"
    try await setup.listen { listener, _ in
      try await listener.expectGreeting("bob", for: try setup.client(bob))
      await expectRefused(#"is of "alice""#, setup.log) {
        try await listener.greet(try setup.client(alice))
      }
    }
  }

  @Test func revokedCertificatesAreRefused() async throws {
    var setup = try Setup()
    try setup.askClients()
    let alice = try setup.authority.issue("alice")
    let bob = try setup.authority.issue("bob")
    setup.settings.revocationFile = try setup.folder.write(
      "crl.der",
      try setup.authority.revocationList([bob.certificate.serialNumber])
    )
    try await setup.listen { listener, tls in
      try await listener.expectGreeting("alice", for: try setup.client(alice))
      await expectRefused("is revoked", setup.log) {
        try await listener.greet(try setup.client(bob))
      }
      // In version 1.2 the client's part of the handshake is over before the server looks.
      var old = try setup.client(bob)
      old.maximumTLSVersion = .tlsv12
      await expectRefused("is revoked", setup.log) { try await listener.greet(old) }

      let both = try setup.authority.revocationList(
        [alice, bob].map { $0.certificate.serialNumber }
      )
      try setup.folder.write("crl.der", both)
      #expect(tls.reloadIfChanged() == .reloaded)
      await expectRefused("is revoked", setup.log) {
        try await listener.greet(try setup.client(alice))
      }
    }
  }

  @Test func plainAndTLSShareASocket() async throws {
    let setup = try Setup()
    try await setup.listen(acceptsPlain: true) { listener, _ in
      try await listener.expectGreeting("nobody", for: nil)
      let greeting = try await listener.greet(try setup.client(), host: "localhost")
      #expect(greeting.version == .tlsv13)
    }
    try await setup.listen { listener, _ in
      // An alert is all that such a client gets.
      let greeting = try await listener.greet(nil)
      #expect(greeting.text.utf8.first == 0x15)
      #expect(setup.log.count("wrong version number") == 1, "\(setup.log.all)")
    }
  }
}

import Foundation
import NIOSSL
import TLS
import Testing
import X509

/// Files that change while a server runs.
@Suite struct ReloadTests {
  typealias Setup = ServerTLSTests.Setup

  @Test func nothingChangesWhileFilesDoNot() throws {
    let setup = try Setup()
    let tls = try ServerTLS(setup.settings, logger: setup.log.logger)
    let lines = setup.log.all
    for _ in 0..<3 { #expect(tls.reloadIfChanged() == .unchanged) }
    #expect(setup.log.all == lines)
  }

  @Test func newConnectionsUseNewFilesAndOldOnesGoOn() async throws {
    let setup = try Setup()
    try await setup.listen { listener, tls in
      let next = try setup.authority.issue("server")
      try setup.folder.write("cert.pem", try next.pem)
      try setup.folder.write("key.pem", try next.keyPEM)
      let before = try await listener.greet(try setup.client())
      #expect(before.serial == Array(setup.server.certificate.serialNumber.bytes))
      #expect(tls.reloadIfChanged() == .reloaded)
      let after = try await listener.greet(try setup.client())
      #expect(after.serial == Array(next.certificate.serialNumber.bytes))
      #expect(tls.reloadIfChanged() == .unchanged)
    }
  }

  @Test func halfAReplacementKeepsTheOldPair() async throws {
    let setup = try Setup()
    try await setup.listen { listener, tls in
      let next = try setup.authority.issue("server")
      try setup.folder.write("cert.pem", try next.pem)
      let mismatch = ServerTLS.Reload.refused(
        .mismatch(
          certificateFile: setup.settings.certificateFile,
          keyFile: setup.settings.keyFile
        )
      )
      for _ in 0..<3 { #expect(tls.reloadIfChanged() == mismatch) }
      #expect(setup.log.count("no good") == 1, "said once: \(setup.log.all)")
      let during = try await listener.greet(try setup.client())
      #expect(during.serial == Array(setup.server.certificate.serialNumber.bytes))
      try setup.folder.write("key.pem", try next.keyPEM)
      #expect(tls.reloadIfChanged() == .reloaded)
      let after = try await listener.greet(try setup.client())
      #expect(after.serial == Array(next.certificate.serialNumber.bytes))
    }
  }

  @Test(arguments: ["cert.pem", "key.pem", "ca.pem", "crl.pem"])
  func aBrokenFileKeepsTheOldOnesInUse(name: String) async throws {
    var setup = try Setup()
    try setup.askClients()
    let alice = try setup.authority.issue("alice")
    setup.settings.revocationFile = try setup.folder.write(
      "crl.pem",
      try setup.authority.revocationList([])
    )
    let good = try Data(contentsOf: URL(fileURLWithPath: "\(setup.folder.path)/\(name)"))
    try await setup.listen { listener, tls in
      for broken in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        let complaints = setup.log.count("no good")
        try setup.folder.write(name, broken)
        guard case .refused(let error) = tls.reloadIfChanged() else {
          Issue.record("\(name) as \(broken.debugDescription) was taken")
          continue
        }
        #expect("\(error)".contains(name), "\(error)")
        tls.reloadIfChanged()
        #expect(setup.log.count("no good") == complaints + 1, "once for each change")
        try await listener.expectGreeting("alice", for: try setup.client(alice))
      }
      try FileManager.default.removeItem(atPath: "\(setup.folder.path)/\(name)")
      guard case .refused(.unreadable) = tls.reloadIfChanged() else {
        Issue.record("a file that is gone was taken")
        return
      }
      try await listener.expectGreeting("alice", for: try setup.client(alice))
      try setup.folder.write(name, good)
      #expect(tls.reloadIfChanged() == .reloaded)
      try await listener.expectGreeting("alice", for: try setup.client(alice))
    }
  }

  @Test func aNewAuthorityCountsForNewConnections() async throws {
    var setup = try Setup()
    try setup.askClients()
    let other = try Authority("other")
    let carol = try other.issue("carol")
    try await setup.listen { listener, tls in
      await #expect(throws: (any Error).self) { try await listener.greet(try setup.client(carol)) }
      try setup.folder.write("ca.pem", try setup.authority.pem + other.pem)
      #expect(tls.reloadIfChanged() == .reloaded)
      try await listener.expectGreeting("carol", for: try setup.client(carol))
      // And out again.
      try setup.folder.write("ca.pem", try setup.authority.pem)
      #expect(tls.reloadIfChanged() == .reloaded)
      await #expect(throws: (any Error).self) { try await listener.greet(try setup.client(carol)) }
    }
  }

  @Test func filesThatAreNoGoodAtTheStartAreSaid() throws {
    let setup = try Setup()
    let key = setup.settings.keyFile
    try setup.folder.write("other.pem", try setup.authority.issue("other").keyPEM)
    let log = setup.log.logger
    let cases: [(String, String)] = [
      ("\(setup.folder.path)/none", "No such file"), (setup.folder.path, "not a file"),
      (setup.settings.certificateFile, "holds no usable private key"),
      ("\(setup.folder.path)/other.pem", "does not match"),
    ]
    for (file, text) in cases {
      var settings = setup.settings
      settings.keyFile = file
      let error = #expect(throws: TLSError.self) { try ServerTLS(settings, logger: log) }
      #expect("\(String(describing: error))".contains(text), "\(String(describing: error))")
    }
    var settings = setup.settings
    settings.certificateFile = key
    let error = #expect(throws: TLSError.self) { try ServerTLS(settings, logger: log) }
    #expect("\(String(describing: error))".contains("holds no usable certificate"))
  }
}

import MartletServer
import NIOCore
import Proto
import RPC
import Testing

@Suite("Tokens that are signed, and tokens that end")
struct SignedTokenTests {
  struct Method: Sendable, CustomTestStringConvertible {
    var name: String
    var privateKey: String
    var publicKey: String?
    var testDescription: String { name }
  }

  static let methods = [
    Method(name: "RS256", privateKey: TestKeys.rsaPrivate, publicKey: TestKeys.rsaPublic),
    Method(name: "PS384", privateKey: TestKeys.rsaPrivate, publicKey: nil),
    Method(name: "ES256", privateKey: TestKeys.p256Private, publicKey: TestKeys.p256Public),
    Method(name: "ES384", privateKey: TestKeys.p384Private, publicKey: TestKeys.p384Public),
    Method(name: "ES512", privateKey: TestKeys.p521Private, publicKey: nil),
    Method(name: "EdDSA", privateKey: TestKeys.ed25519Private, publicKey: TestKeys.ed25519Public),
    Method(name: "HS256", privateKey: "a secret that only the member has", publicKey: nil),
  ]

  static func withSigned(
    _ method: Method,
    ttl: String = "10m",
    _ body: (TestMember, _ root: TestUser, _ alice: TestUser) async throws -> Void
  ) async throws {
    let keys = try TemporaryFolder()
    var option = "jwt,sign-method=\(method.name),ttl=\(ttl)"
    option += ",priv-key=\(try keys.write(method.privateKey, to: "private"))"
    if let key = method.publicKey { option += ",pub-key=\(try keys.write(key, to: "public"))" }
    try await withAuth {
      $0.authToken = option
    } _: {
      try await body($0, $1, $2)
    }
    withExtendedLifetime(keys) {}
  }

  @Test("a signed token is good as it is, and not when a byte of it is another", arguments: methods)
  func forged(_ method: Method) async throws {
    try await Self.withSigned(method) { member, _, alice in
      try await alice.put("a", "1")
      let token = try #require(alice.options.metadata.first).value
      let parts = token.split(separator: ".").map(String.init)
      try #require(parts.count == 3)
      // {"alg":"none"} and nothing signed; the payload of one and the signature of another.
      let none = "eyJhbGciOiJub25lIn0"
      var forged = [
        "\(none).\(parts[1]).", "\(none).\(parts[1]).\(parts[2])", "\(parts[0]).\(parts[1]).",
        "\(parts[0]).\(parts[1])", "\(token).", "..", token + "AAAA",
      ]
      for place in [0, parts[0].count + 3, token.count - parts[2].count / 2] {
        var bytes = Array(token.utf8)
        bytes[place] = bytes[place] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        forged.append(String(decoding: bytes, as: UTF8.self))
      }
      for token in forged {
        await expectFailure(.unauthenticated, "etcdserver: invalid auth token") {
          try await TestUser(member, token: token).put("a", "2")
        }
      }
      await expectFailure(.permissionDenied) { try await alice.put("s", "1") }
      let values = try await alice.get("a")
      #expect(values == ["a=1"])
    }
  }

  @Test("a signed token is old once users or roles have changed")
  func oldRevision() async throws {
    try await Self.withSigned(Self.methods[6]) { member, root, alice in
      _ = try await AuthClient(member.client).roleAdd(.init(name: "x"), options: root.options)
      let old = "etcdserver: revision of auth store is old"
      await expectFailure(.invalidArgument, old) { try await alice.put("a", "1") }
      await expectFailure(.invalidArgument, old) { _ = try await alice.get("a") }
      try await TestUser(member, "alice", "alice").put("a", "1")
    }
  }

  @Test("a signed token ends at its time")
  func ends() async throws {
    try await Self.withSigned(Self.methods[6], ttl: "2s") { member, _, _ in
      let alice = try await TestUser(member, "alice", "alice")
      try await Task.sleep(for: .milliseconds(2100))
      await expectFailure(.unauthenticated, "etcdserver: invalid auth token") {
        try await alice.put("a", "1")
      }
    }
  }

  @Test("a simple token ends when it is not used")
  func simpleEnds() async throws {
    try await withAuth {
      $0.authTokenTTLSeconds = 1
    } _: { member, _, _ in
      let alice = try await TestUser(member, "alice", "alice")
      try await Task.sleep(for: .milliseconds(1100))
      await expectFailure(.unauthenticated, "etcdserver: invalid auth token") {
        try await alice.put("a", "1")
      }
    }
  }
}

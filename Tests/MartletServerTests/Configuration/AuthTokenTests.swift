import Auth
import Foundation
import MartletServer
import Testing

@Suite("--auth-token")
struct AuthTokenTests {
  static func start(_ token: String) async throws -> String? {
    let folder = try TemporaryFolder()
    var configuration = TestMember.configuration(in: folder)
    configuration.authToken = token
    do {
      let member = try await EmbeddedMember.start(configuration, logger: TestMember.silentLogger)
      await member.stop()
      return nil
    } catch let error as ConfigurationError {
      return error.message
    }
  }

  @Test(
    "bad options stop the start and are named",
    arguments: [
      ("", "simple or jwt"), ("nosuch", "simple or jwt"), ("simple,a=b", "no options"),
      ("jwt", "sign-method"), ("jwt,sign-method=XX", "sign-method"),
      ("jwt,sign-method=RS256", "priv-key"), ("jwt,sign-method=HS256", "secret"),
      ("jwt,sign-method=RS256,pub-key=/no/such/file", "/no/such/file"),
      ("jwt,sign-method=RS256,foo=bar", "foo=bar"), ("jwt,ttl", "ttl"),
      ("jwt,sign-method=HS256,priv-key=/no/such/file,ttl=0s", "ttl"),
      ("jwt,sign-method=HS256,sign-method=HS256,priv-key=/dev/null", "twice"),
    ]
  )
  func refused(token: String, word: String) async throws {
    let message = try #require(try await Self.start(token))
    #expect(message.contains(word), "\(message)")
  }

  @Test("a file that is no key for the method stops the start")
  func noKey() async throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("not a key", to: "key.pem")
    for half in ["priv-key", "pub-key"] {
      for method in ["RS256", "PS512", "ES256", "ES512", "EdDSA"] {
        let message = try await Self.start("jwt,sign-method=\(method),\(half)=\(file)")
        #expect(message?.contains(method) == true, "\(method): \(message ?? "started")")
      }
    }
  }
}

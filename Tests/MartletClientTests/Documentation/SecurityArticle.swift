import MartletClient
import Testing

/// The examples of `Security.md`, between the marks.
enum SecurityArticle {
  static func connect(
    _ endpoints: [String],
    authorities: String,
    certificate: String,
    key: String
  ) async throws {
    // begin
    var configuration = ClientConfiguration(endpoints: endpoints)
    configuration.tls = .init(
      authoritiesFile: authorities,
      certificateFile: certificate,
      keyFile: key
    )
    let client = try Client(configuration)
    // end

    try await client.kv.put("secret", "1")
    await client.close()
  }

  static func authenticate(_ endpoints: [String]) async throws {
    // begin
    var configuration = ClientConfiguration(endpoints: endpoints)
    configuration.credentials = .init(username: "root", password: "secret")
    let client = try Client(configuration)
    try await client.auth.addRole("reader")
    try await client.auth.grant(.init(.read, .prefix("public/")), to: "reader")
    // end

    #expect(try await client.auth.permissions(of: "reader").count == 1)
    await client.close()
  }
}

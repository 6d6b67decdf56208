import MartletClient
import MartletServer

/// The certificates of `TestCertificates` as files: an authority, and a server and a user that it
/// vouches for.
final class TLSFolder: Sendable {
  private let folder: TestFolder

  init() throws {
    folder = try TestFolder()
    try folder.write(TestCertificates.authority, to: "ca.pem")
    try folder.write(TestCertificates.server, to: "server.pem")
    try folder.write(TestCertificates.serverKey, to: "server.key")
    try folder.write(TestCertificates.alice, to: "alice.pem")
    try folder.write(TestCertificates.aliceKey, to: "alice.key")
  }

  func path(_ name: String) -> String { "\(folder.path)/\(name)" }

  /// What a client shows and trusts.
  func client(showing name: String? = nil) -> ClientConfiguration.TLS {
    ClientConfiguration.TLS(
      authoritiesFile: path("ca.pem"),
      certificateFile: name.map { path("\($0).pem") } ?? "",
      keyFile: name.map { path("\($0).key") } ?? ""
    )
  }

  /// Runs `body` with the address of a new server that encrypts.
  ///
  /// `requiresCertificate`: Clients must show a certificate of the authority.
  func run(
    _ server: ServerKind,
    requiresCertificate: Bool,
    _ body: (String) async throws -> Void
  ) async throws {
    switch server {
    case .etcd, .newerEtcd:
      var arguments = ["--cert-file", path("server.pem"), "--key-file", path("server.key")]
      if requiresCertificate {
        arguments += ["--client-cert-auth", "--trusted-ca-file", path("ca.pem")]
      }
      try await EtcdProcess.run(server, scheme: "https", arguments, body)
    case .martlet, .cluster:
      func secure(_ configuration: inout ServerConfiguration) {
        configuration.listenClientURLs = ["https://127.0.0.1:0"]
        configuration.clientTLS.certificateFile = path("server.pem")
        configuration.clientTLS.keyFile = path("server.key")
        guard requiresCertificate else { return }
        configuration.clientTLS.requiresClientCertificate = true
        configuration.clientTLS.trustedCAFile = path("ca.pem")
      }
      try await withMember(secure) { _, address in try await body(address) }
    }
  }
}

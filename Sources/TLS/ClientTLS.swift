package import NIOCore
import NIOSSL

/// TLS of a client, as etcdctl's flags have it.
package struct ClientTLSSettings: Hashable, Sendable {
  /// PEM: who signs servers' certificates (--cacert). Empty: the system's authorities.
  package var authoritiesFile = ""
  /// PEM: what this client shows (--cert, --key). Empty: nothing.
  package var certificateFile = ""
  package var keyFile = ""
  /// The server's certificate is not looked at.
  package var skipsVerification = false
  /// The host that the server's certificate must be for, when it is not the one connected to.
  package var serverName = ""

  package init() {}
}

/// A client's TLS, files read. May be used for any number of connections.
package struct ClientTLS: Sendable {
  private let context: NIOSSLContext
  private let serverName: String
  private let skipsVerification: Bool

  /// Reads the files. Throws what is wrong with them.
  package init(_ settings: ClientTLSSettings) throws(TLSError) {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    configuration.applicationProtocols = ["h2"]
    if settings.skipsVerification { configuration.certificateVerification = .none }
    if !settings.authoritiesFile.isEmpty {
      configuration.trustRoots = .certificates(
        try ServerMaterial.authorities(settings.authoritiesFile)
      )
    }
    if !settings.certificateFile.isEmpty {
      configuration.certificateChain = try ServerMaterial.certificates(settings.certificateFile)
        .map { .certificate($0) }
      configuration.privateKey = .privateKey(try ServerMaterial.key(settings.keyFile))
    }
    do {
      context = try NIOSSLContext(configuration: configuration)
    } catch {
      throw FailureText.isMismatch(error)
        ? .mismatch(certificateFile: settings.certificateFile, keyFile: settings.keyFile)
        : .failed(FailureText.text(error))
    }
    serverName = settings.serverName
    skipsVerification = settings.skipsVerification
  }

  /// Puts TLS into the pipeline of a new connection to `host`, as its first handler; on the
  /// channel's loop.
  package func install(on channel: any Channel, host: String) throws {
    let name = serverName.isEmpty ? host : serverName
    // An address is checked by where the connection leads, and not sent.
    let isName = HostNames.address(name) == nil && !name.isEmpty
    let handler = try NIOSSLClientHandler(context: context, serverHostname: isName ? name : nil)
    try channel.pipeline.syncOperations.addHandler(handler)
    // Without a name it is the address that the library checks.
    guard !skipsVerification, isName || !serverName.isEmpty else { return }
    try channel.pipeline.syncOperations.addHandler(ServerNameCheck(handler, name: name))
  }
}

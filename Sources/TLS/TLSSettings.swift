import NIOSSL

/// A version of TLS by the name that etcd's flags have for it.
package enum TLSProtocolVersion: String, Comparable, Sendable {
  case tls12 = "TLS1.2"
  case tls13 = "TLS1.3"

  package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  var version: TLSVersion { self == .tls12 ? .tlsv12 : .tlsv13 }
}

/// What a listening socket's TLS is made of: files by their paths, and what clients must show.
package struct TLSSettings: Hashable, Sendable {
  /// PEM: the server's certificate first, then those between it and the root.
  package var certificateFile: String
  /// PEM, not encrypted.
  package var keyFile: String
  /// Clients must show a certificate that verifies.
  package var requiresClientCertificate = false
  /// PEM: who signs clients' certificates. Empty: the system's authorities.
  package var authoritiesFile = ""
  /// PEM or DER: the revoked certificates. Empty: none.
  package var revocationFile = ""
  /// Host names or addresses of which a client's certificate must be valid for one. Empty: any.
  package var allowedHostNames: [String] = []
  /// The common name that a client's certificate must have. Empty: any.
  package var allowedCommonName = ""
  /// A client's certificate that names addresses and no hosts must name the one it comes from.
  package var checksAddresses = false
  /// Calls get to know the common name of their client's certificate.
  package var identifiesClients = false
  package var oldestVersion = TLSProtocolVersion.tls12
  package var newestVersion = TLSProtocolVersion.tls13
  /// Empty: what the library holds for good.
  package var cipherSuites: [CipherSuite] = []

  package init(certificateFile: String, keyFile: String) {
    self.certificateFile = certificateFile
    self.keyFile = keyFile
  }

  /// Checks versions and suites against each other. Throws `badVersions` or `unfitCipherSuites`.
  package func check() throws(TLSError) {
    guard oldestVersion <= newestVersion else {
      throw .badVersions(oldest: oldestVersion.rawValue, newest: newestVersion.rawValue)
    }
    guard !cipherSuites.isEmpty else { return }
    guard oldestVersion < .tls13 else {
      throw .unfitCipherSuites("cipher suites cannot be chosen when only TLS1.3 is allowed")
    }
    guard newestVersion == .tls13 || cipherSuites.contains(where: { !$0.isOfTLS13 }) else {
      throw .unfitCipherSuites(
        "none of the cipher suites can be used with TLS1.2, the newest version allowed"
      )
    }
  }

  /// Puts versions and suites into the library's configuration.
  func apply(to configuration: inout TLSConfiguration) {
    configuration.minimumTLSVersion = oldestVersion.version
    configuration.maximumTLSVersion = newestVersion.version
    guard !cipherSuites.isEmpty else { return }
    let older = cipherSuites.filter { !$0.isOfTLS13 }
    if older.isEmpty {
      configuration.minimumTLSVersion = .tlsv13
    } else {
      configuration.cipherSuiteValues = older.map(\.cipher)
    }
  }
}

import Membership
package import TLS

/// TLS between the members of a cluster. Files are read again when they change.
public struct PeerTransportSecurity: Hashable, Sendable {
  /// PEM files of the member's certificate, with what is between it and its root, and of its key.
  public var certificateFile = ""
  public var keyFile = ""
  /// PEM files of what this member shows to others when it connects to them; none: the same.
  public var clientCertificateFile = ""
  public var clientKeyFile = ""
  /// PEM file of who signs members' certificates; every member must show one when it is set.
  public var trustedCAFile = ""
  /// Members must show a certificate when they connect.
  public var requiresClientCertificate = false
  /// PEM or DER file of the revoked certificates.
  public var revocationFile = ""
  /// The common name that a connecting member's certificate must have; empty: any will do.
  public var allowedCommonName = ""
  /// Host names or addresses, of which such a certificate must have one; none: any will do.
  public var allowedHostNames: [String] = []
  /// The addresses in a connecting member's certificate are not compared with where it comes from.
  public var skipsAddressCheck = false
  /// The member makes a certificate for itself when none is given, and keeps it with its data. Other
  /// members' certificates are then not verified.
  public var isAutomatic = false

  /// No certificate, as the flags' defaults have it.
  public init() {}

  var hasFiles: Bool { !certificateFile.isEmpty }
}

/// Both sides of the TLS between members.
package struct PeerSecurityPlan: Hashable, Sendable {
  package var listening: TransportSecurityPlan
  package var dialing: ClientTLSSettings
}

extension ServerConfiguration {
  /// The plan for TLS between members, nil when there are no files and none are to be made. Checks
  /// what can be checked without reading files.
  func peerSecurity(_ listeners: [ServerURL]) throws(ConfigurationError) -> PeerSecurityPlan? {
    let tls = peerTLS
    guard tls.certificateFile.isEmpty == tls.keyFile.isEmpty else {
      throw .invalid(
        "--peer-cert-file and --peer-key-file must be given together (found peer-cert-file "
          + "\(tls.certificateFile.debugDescription), peer-key-file "
          + "\(tls.keyFile.debugDescription))."
      )
    }
    guard tls.clientCertificateFile.isEmpty == tls.clientKeyFile.isEmpty else {
      throw .invalid("--peer-client-cert-file and --peer-client-key-file must be given together.")
    }
    guard tls.hasFiles || tls.isAutomatic else {
      for url in listeners where url.isSecure {
        throw .invalid(
          "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided, or made by "
            + "--peer-auto-tls, for peer url \(url)."
        )
      }
      return nil
    }
    var settings = try transportSecuritySettings(
      TLSSettings(certificateFile: tls.certificateFile, keyFile: tls.keyFile)
    )
    // As in etcd, naming an authority is to ask for certificates.
    settings.requiresClientCertificate = tls.requiresClientCertificate || !tls.trustedCAFile.isEmpty
    settings.authoritiesFile = tls.trustedCAFile
    settings.revocationFile = tls.revocationFile
    settings.allowedHostNames = tls.allowedHostNames
    settings.allowedCommonName = tls.allowedCommonName
    settings.checksAddresses = !tls.skipsAddressCheck
    let hosts = listeners.filter { $0.isSecure && !$0.isUnixSocket }.map(\.host)
    var dialing = ClientTLSSettings()
    dialing.authoritiesFile = tls.trustedCAFile
    let hasOwn = !tls.clientCertificateFile.isEmpty
    dialing.certificateFile = hasOwn ? tls.clientCertificateFile : tls.certificateFile
    dialing.keyFile = hasOwn ? tls.clientKeyFile : tls.keyFile
    // Nobody vouches for certificates that members make for themselves.
    dialing.skipsVerification = !tls.hasFiles
    return PeerSecurityPlan(
      listening: TransportSecurityPlan(
        settings: settings,
        automatic: tls.hasFiles
          ? nil
          : TransportSecurityPlan.Automatic(
            hosts: hosts,
            validityYears: clientTLS.selfSignedValidityYears
          )
      ),
      dialing: dialing
    )
  }
}

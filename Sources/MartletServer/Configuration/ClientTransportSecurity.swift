/// TLS between clients and a member. Files are read again when they change.
public struct ClientTransportSecurity: Hashable, Sendable {
  /// PEM files of the member's certificate, with what is between it and its root, and of its key.
  public var certificateFile = ""
  public var keyFile = ""
  /// PEM file of who signs clients' certificates; every client must show one when it is set.
  public var trustedCAFile = ""
  /// Clients must show a certificate, and its common name is their user when they have no token.
  public var requiresClientCertificate = false
  /// PEM or DER file of the revoked client certificates.
  public var revocationFile = ""
  /// Host names or addresses, of which a client's certificate must have one; none: any will do.
  public var allowedClientHostNames: [String] = []
  /// The member makes a certificate for itself when none is given, and keeps it with its data.
  public var isAutomatic = false
  /// Years for which such a certificate is valid.
  public var selfSignedValidityYears = 1
  /// By Go's names; none: what is good.
  public var cipherSuites: [String] = []
  /// `TLS1.2`, `TLS1.3` or nothing.
  public var oldestVersion = "TLS1.2"
  public var newestVersion = ""

  /// No certificate, as the flags' defaults have it.
  public init() {}

  var hasFiles: Bool { !certificateFile.isEmpty }
}

extension FlagTable {
  static let security: [Flag] = [
    works("cert-file", .text(\.clientTLS.certificateFile), help: "Certificate of the server."),
    works("key-file", .text(\.clientTLS.keyFile), help: "Key of that certificate."),
    works(
      "client-cert-auth",
      .bool(\.clientTLS.requiresClientCertificate),
      "false",
      help: "Asks clients for a certificate; its common name is their user."
    ),
    tls(
      "client-cert-file",
      help: "For calls to itself as a client, which this server never makes."
    ),
    tls("client-key-file", help: "Key of that certificate."),
    works(
      "client-crl-file",
      .text(\.clientTLS.revocationFile),
      help: "List of revoked client certificates."
    ),
    works(
      "client-cert-allowed-hostname",
      .list(\.clientTLS.allowedClientHostNames),
      help: "Host names, of which a client certificate must have one."
    ),
    works(
      "trusted-ca-file",
      .text(\.clientTLS.trustedCAFile),
      help: "Authorities that sign client certificates; clients must show one."
    ),
    works(
      "auto-tls",
      .bool(\.clientTLS.isAutomatic),
      "false",
      help: "Makes a certificate for clients itself."
    ),
    works("peer-cert-file", .text(\.peerTLS.certificateFile), help: "Certificate for members."),
    works("peer-key-file", .text(\.peerTLS.keyFile), help: "Key of that certificate."),
    works(
      "peer-client-cert-auth",
      .bool(\.peerTLS.requiresClientCertificate),
      "false",
      help: "Asks members for a certificate."
    ),
    works(
      "peer-client-cert-file",
      .text(\.peerTLS.clientCertificateFile),
      help: "Certificate to connect to other members with, when it is not the same."
    ),
    works("peer-client-key-file", .text(\.peerTLS.clientKeyFile), help: "Key of that certificate."),
    works(
      "peer-trusted-ca-file",
      .text(\.peerTLS.trustedCAFile),
      help: "Authorities that sign members' certificates; members must show one."
    ),
    works(
      "peer-cert-allowed-cn",
      .text(\.peerTLS.allowedCommonName),
      help: "Common name that a connecting member's certificate must have."
    ),
    works(
      "peer-cert-allowed-hostname",
      .list(\.peerTLS.allowedHostNames),
      help: "Host names, of which a connecting member's certificate must have one."
    ),
    works(
      "peer-auto-tls",
      .bool(\.peerTLS.isAutomatic),
      "false",
      help: "Makes a certificate for members itself."
    ),
    works(
      "peer-crl-file",
      .text(\.peerTLS.revocationFile),
      help: "List of revoked certificates of members."
    ),
    works(
      "peer-skip-client-san-verification",
      .bool(\.peerTLS.skipsAddressCheck),
      "false",
      help: "Does not compare a connecting member's address with its certificate."
    ),
    works(
      "self-signed-cert-validity",
      .integer(\.clientTLS.selfSignedValidityYears),
      "1",
      help: "Years for which a certificate made here is valid."
    ),
    works(
      "cipher-suites",
      .list(\.clientTLS.cipherSuites),
      help: "TLS cipher suites by Go's names, with commas."
    ),
    works(
      "tls-min-version",
      .choice(tlsVersions, \.clientTLS.oldestVersion),
      "TLS1.2",
      help: "Oldest TLS version."
    ),
    works(
      "tls-max-version",
      .choice(tlsVersions, \.clientTLS.newestVersion),
      help: "Newest TLS version."
    ),
    works("cors", .list(\.cors), "*", help: "Origins that browsers may come from."),
    works(
      "host-whitelist",
      .list(\.hostWhitelist),
      "*",
      help: "Host names that HTTP requests without TLS may ask for."
    ),
  ]

  private static func works(
    _ name: String,
    _ kind: Flag.Kind,
    _ defaultText: String = "",
    help: String
  ) -> Flag {
    Flag(name, kind, defaultText, .security, help)
  }

  private static let tlsVersions = ["", "TLS1.2", "TLS1.3"]

  private static func tls(
    _ name: String,
    _ kind: Flag.Kind = .text(nil),
    _ defaultText: String = "",
    help: String
  ) -> Flag {
    Flag(name, kind, defaultText, .security, .acceptedWithoutEffect, help)
  }

  static let auth: [Flag] = [
    Flag(
      "auth-token",
      .text(\.authToken),
      "simple",
      .auth,
      .works,
      "Kind of token and its options: simple, or jwt,pub-key=..,sign-method=.."
    ),
    Flag(
      "bcrypt-cost",
      .integer(\.bcryptCost),
      "10",
      .auth,
      .works,
      "Work to hash a password, 4 to 31."
    ),
    Flag(
      "auth-token-ttl",
      .integer(\.authTokenTTLSeconds),
      "300",
      .auth,
      .works,
      "Seconds that a simple token lives after its last use."
    ),
  ]
}

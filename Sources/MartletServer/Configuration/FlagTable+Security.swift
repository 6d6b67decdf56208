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
    tls("peer-cert-file", help: "Certificate for other members."),
    tls("peer-key-file", help: "Key of that certificate."),
    tls("peer-client-cert-auth", .bool(nil), "false", help: "Asks members for a certificate."),
    tls("peer-client-cert-file", help: "Certificate for calls to other members."),
    tls("peer-client-key-file", help: "Key of that certificate."),
    tls("peer-trusted-ca-file", help: "Authorities that sign members' certificates."),
    tls("peer-cert-allowed-cn", help: "Common name that a member's certificate must have."),
    tls("peer-cert-allowed-hostname", help: "Host name that a member's certificate must have."),
    tls("peer-auto-tls", .bool(nil), "false", help: "Makes a certificate for members itself."),
    tls("peer-crl-file", help: "List of revoked certificates of members."),
    tls(
      "peer-skip-client-san-verification",
      .bool(nil),
      "false",
      help: "Does not compare a member's address with its certificate."
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

extension FlagTable {
  static let security: [Flag] = [
    tls("cert-file", help: "Certificate of the server for clients."),
    tls("key-file", help: "Key of that certificate."),
    tls("client-cert-auth", .bool(nil), "false", help: "Asks clients for a certificate."),
    tls("client-cert-file", help: "Certificate for the server's own calls as a client."),
    tls("client-key-file", help: "Key of that certificate."),
    tls("client-crl-file", help: "List of revoked client certificates."),
    tls("client-cert-allowed-hostname", help: "Host name that a client certificate must have."),
    tls("trusted-ca-file", help: "Authorities that sign client certificates."),
    tls("auto-tls", .bool(nil), "false", help: "Makes a certificate for clients itself."),
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
    tls(
      "self-signed-cert-validity",
      .integer(nil),
      "1",
      help: "Years for which a certificate made here is valid."
    ),
    tls("cipher-suites", .list(nil), help: "TLS cipher suites, with commas."),
    tls("tls-min-version", .choice(tlsVersions, nil), "TLS1.2", help: "Oldest TLS version."),
    tls("tls-max-version", .choice(tlsVersions, nil), help: "Newest TLS version."),
    tls("cors", .list(nil), "*", help: "Origins that browsers may come from."),
    tls("host-whitelist", .list(nil), "*", help: "Host names that HTTP requests may ask for."),
  ]

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
      .acceptedWithoutEffect,
      "Kind of token and its options: simple, or jwt,pub-key=..,sign-method=.."
    ),
    Flag(
      "bcrypt-cost",
      .integer(\.bcryptCost),
      "10",
      .auth,
      .acceptedWithoutEffect,
      "Work to hash a password, 4 to 31."
    ),
    Flag(
      "auth-token-ttl",
      .integer(\.authTokenTTLSeconds),
      "300",
      .auth,
      .acceptedWithoutEffect,
      "Seconds that a simple token lives after its last use."
    ),
  ]
}

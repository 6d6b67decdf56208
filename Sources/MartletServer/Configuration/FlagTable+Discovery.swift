// How founding members find each other.
extension FlagTable {
  static let discovery: [Flag] = [
    Flag(
      "discovery",
      .text(\.discoveryURL),
      "",
      .clustering,
      "URL of a v2 discovery service, which this server refuses: see --discovery-endpoints."
    ),
    Flag(
      "discovery-token",
      .text(\.discoveryService.token),
      "",
      .clustering,
      "What the cluster to be is called at the discovery service; its size is the key "
        + "/_etcd/registry/<token>/_config/size there."
    ),
    Flag(
      "discovery-srv",
      .text(\.discoverySRV),
      "",
      .clustering,
      "DNS domain whose SRV records name the founding members."
    ),
    Flag(
      "discovery-srv-name",
      .text(\.discoverySRVName),
      "",
      .clustering,
      "What follows _etcd-server- in the names of the SRV records."
    ),
    service(
      "discovery-endpoints",
      .list(\.discoveryService.endpoints),
      "",
      "Client addresses of the etcd cluster by which founding members find each other."
    ),
    service(
      "discovery-dial-timeout",
      .duration(\.discoveryService.dialTimeout),
      "2s",
      "Discovery: time to connect."
    ),
    service(
      "discovery-request-timeout",
      .duration(\.discoveryService.requestTimeout),
      "5s",
      "Discovery: time per request."
    ),
    service(
      "discovery-keepalive-time",
      .duration(\.discoveryService.keepaliveTime),
      "2s",
      "Discovery: silence before a ping."
    ),
    service(
      "discovery-keepalive-timeout",
      .duration(\.discoveryService.keepaliveTimeout),
      "6s",
      "Discovery: time to answer a ping."
    ),
    service(
      "discovery-insecure-transport",
      .bool(\.discoveryService.isPlain),
      "true",
      "Discovery: addresses without a scheme are http, not https."
    ),
    service(
      "discovery-insecure-skip-tls-verify",
      .bool(\.discoveryService.skipsVerification),
      "false",
      "Discovery: does not check the certificate."
    ),
    service(
      "discovery-cert",
      .text(\.discoveryService.certificateFile),
      "",
      "Discovery: client certificate."
    ),
    service(
      "discovery-key",
      .text(\.discoveryService.keyFile),
      "",
      "Discovery: key of the client certificate."
    ),
    service(
      "discovery-cacert",
      .text(\.discoveryService.authoritiesFile),
      "",
      "Discovery: certificate of the authority."
    ),
    service(
      "discovery-user",
      .text(\.discoveryService.user),
      "",
      "Discovery: user, or user:password."
    ),
    service(
      "discovery-password",
      .text(\.discoveryService.password),
      "",
      "Discovery: password."
    ),
    service(
      "discovery-fallback",
      .choice(["exit"], nil),
      "exit",
      "What to do when discovery fails: only exit; there is no v2 proxy to fall back to."
    ),
    Flag(
      "discovery-proxy",
      .text(nil),
      "",
      .clustering,
      .acceptedWithoutEffect,
      "HTTP proxy to the v2 discovery service, which this server refuses."
    ),
  ]

  private static func service(
    _ name: String,
    _ kind: Flag.Kind,
    _ defaultText: String,
    _ help: String
  ) -> Flag {
    Flag(name, kind, defaultText, .clustering, help)
  }
}

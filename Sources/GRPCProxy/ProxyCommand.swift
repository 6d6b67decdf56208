import Flags

/// What a command line `martlet grpc-proxy ...` asks for.
package enum ProxyCommand: Sendable {
  case serve(ProxyPlan)
  /// Print the text to standard output and exit with 0.
  case print(String)
  /// Print the text to standard error and exit with 1.
  case fail(String)

  /// Reads the arguments behind `grpc-proxy`.
  package init(arguments: [String]) {
    guard let first = arguments.first, !["-h", "--help", "help"].contains(first) else {
      self = .print(Self.help)
      return
    }
    guard first == "start" else {
      self = .fail(
        #"Error: unknown command "\#(first)" for "martlet grpc-proxy""# + "\n" + Self.help
      )
      return
    }
    do {
      switch try Self.flags.read(Array(arguments.dropFirst())) {
      case .help: self = .print(Self.flags.help)
      case .values(let values): self = .serve(try ProxyPlan(values))
      }
    } catch {
      self = .fail("Error: \(error.text)\n\(Self.flags.usage)\n")
    }
  }

  private static let help = """
    grpc-proxy related command

    Usage:
      martlet grpc-proxy [command]

    Available Commands:
      start       start the grpc proxy
    """

  static let flags = CommandFlags(
    command: "martlet grpc-proxy start",
    summary: "start the grpc proxy",
    flags: listenFlags + serverFlags + serviceFlags + missingFlags
  )

  private static let listenFlags: [CommandFlags.Flag] = [
    .init("listen-addr", .text, "127.0.0.1:23790", "listen address"),
    .init(
      "metrics-addr",
      .text,
      "listen for endpoint /metrics requests on an additional interface"
    ),
    .init(
      "cert-file",
      .text,
      "identify secure connections to the proxy using this TLS certificate file"
    ),
    .init("key-file", .text, "identify secure connections to the proxy using this TLS key file"),
    .init("auto-tls", .bool, "proxy TLS using generated certificates"),
    .init("data-dir", .text, "default.proxy", "Data directory for generated certificates"),
    .init(
      "trusted-ca-file",
      .text,
      "verify certificates of TLS-enabled secure proxy using this CA bundle"
    ),
    .init("client-crl-file", .text, "proxy client certificate revocation list file."),
    .init(
      "listen-cipher-suites",
      .list,
      "Comma-separated list of supported TLS cipher suites between client/proxy (empty will be "
        + "auto-populated)."
    ),
    .init(
      "max-concurrent-streams",
      .integer(1...Int(UInt32.max)),
      "4294967295",
      "Maximum concurrent streams that each client can open at a time."
    ),
    .init(
      "grpc-keepalive-min-time",
      .duration,
      "5s",
      "Minimum interval duration that a client should wait before pinging proxy."
    ),
    .init(
      "grpc-keepalive-interval",
      .duration,
      "2h0m0s",
      "Frequency duration of server-to-client ping to check if a connection is alive (0 to disable)."
    ),
    .init(
      "grpc-keepalive-timeout",
      .duration,
      "20s",
      "Additional duration of wait before closing a non-responsive connection (0 to disable)."
    ),
  ]

  private static let serverFlags: [CommandFlags.Flag] = [
    .init("endpoints", .list, "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
    .init(
      "discovery-srv",
      .text,
      "domain name to query for SRV records describing cluster endpoints"
    ),
    .init("discovery-srv-name", .text, "service name to query when using DNS discovery"),
    .init("insecure-discovery", .bool, "accept insecure SRV records"),
    .init(
      "cacert",
      .text,
      "verify certificates of TLS-enabled secure etcd servers using this CA bundle"
    ),
    .init(
      "cert",
      .text,
      "identify secure connections with etcd servers using this TLS certificate file"
    ),
    .init("key", .text, "identify secure connections with etcd servers using this TLS key file"),
    .init(
      "insecure-skip-tls-verify",
      .bool,
      "skip authentication of etcd server TLS certificates (CAUTION: this option should be enabled "
        + "only for testing purposes)"
    ),
    .init(
      "max-send-bytes",
      .integer(1...Int(Int32.max)),
      "1572864",
      "message send limits in bytes (default value is 1.5 MiB)"
    ),
    .init(
      "max-recv-bytes",
      .integer(1...Int(Int32.max)),
      "2147483647",
      "message receive limits in bytes (default value is math.MaxInt32)"
    ),
  ]

  private static let serviceFlags: [CommandFlags.Flag] = [
    .init(
      "advertise-client-url",
      .text,
      "127.0.0.1:23790",
      "advertise address to register (must be reachable by client)"
    ),
    .init(
      "resolver-prefix",
      .text,
      "prefix to use for registering proxy (must be shared with other grpc-proxy members)"
    ),
    .init(
      "resolver-ttl",
      .integer(0...Int(Int32.max)),
      "specify TTL, in seconds, when registering proxy endpoints"
    ),
    .init("namespace", .text, "string to prefix to all keys for namespacing requests"),
    .init(
      "experimental-serializable-ordering",
      .bool,
      "Ensure serializable reads have monotonically increasing store revisions across endpoints."
    ),
    .init("debug", .bool, "Enable debug-level logging for grpc-proxy."),
  ]

  /// Flags of etcd's that are refused, so that nobody relies on what is not there.
  static let missing = ["experimental-leasing-prefix", "enable-pprof"]

  private static let missingFlags: [CommandFlags.Flag] = [
    .init("experimental-leasing-prefix", .text, "not built"),
    .init("enable-pprof", .bool, "not built"),
  ]
}

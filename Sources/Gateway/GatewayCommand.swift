import Flags
package import Logging
import NIOCore

/// What a command line `martlet gateway ...` asks for.
package enum GatewayCommand: Sendable {
  case serve(GatewayPlan)
  /// Print the text to standard output and exit with 0.
  case print(String)
  /// Print the text to standard error and exit with 1.
  case fail(String)

  /// Reads the arguments behind `gateway`.
  package init(arguments: [String]) {
    guard let first = arguments.first, !["-h", "--help", "help"].contains(first) else {
      self = .print(Self.help)
      return
    }
    guard first == "start" else {
      self = .fail(#"Error: unknown command "\#(first)" for "martlet gateway""# + "\n" + Self.help)
      return
    }
    do {
      switch try Self.flags.read(Array(arguments.dropFirst())) {
      case .help: self = .print(Self.flags.help)
      case .values(let values): self = .serve(try GatewayPlan(values))
      }
    } catch {
      self = .fail("Error: \(error.text)\n\(Self.flags.usage)\n")
    }
  }

  private static let help = """
    gateway related command

    Usage:
      martlet gateway [command]

    Available Commands:
      start       start the gateway
    """

  static let flags = CommandFlags(
    command: "martlet gateway start",
    summary: "start the gateway",
    flags: [
      .init("listen-addr", .text, "127.0.0.1:23790", "listen address"),
      .init("discovery-srv", .text, "DNS domain used to bootstrap initial cluster"),
      .init("discovery-srv-name", .text, "service name to query when using DNS discovery"),
      .init("insecure-discovery", .bool, "accept insecure SRV records"),
      .init(
        "trusted-ca-file",
        .text,
        "path to the client server TLS CA file for verifying the discovered endpoints when "
          + "discovery-srv is provided."
      ),
      .init("endpoints", .list, "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
      .init(
        "retry-delay",
        .duration,
        "1m0s",
        "duration of delay before retrying failed endpoints"
      ),
    ]
  )
}

/// A gateway as its flags have it, before any name is looked up.
package struct GatewayPlan: Sendable {
  /// Not given: used only when nothing is discovered by DNS.
  let endpoints: [GatewayEndpoint]
  let listen: GatewayEndpoint
  let retryDelay: TimeAmount
  /// Empty: no discovery.
  let discoveryDomain: String
  let discoveryServiceName: String
  let acceptsInsecureRecords: Bool
  let trustedCAFile: String

  init(_ values: CommandFlagValues) throws(CommandFlags.Failure) {
    discoveryDomain = values.text("discovery-srv")
    discoveryServiceName = values.text("discovery-srv-name")
    acceptsInsecureRecords = values.bool("insecure-discovery")
    trustedCAFile = values.text("trusted-ca-file")
    let isFallback = discoveryDomain.isEmpty || values.isGiven("endpoints")
    var endpoints: [GatewayEndpoint] = []
    for text in isFallback ? values.list("endpoints") : [] {
      guard let endpoint = GatewayEndpoint(text) else {
        throw CommandFlags.Failure(#"error parsing endpoint "\#(text)""#)
      }
      endpoints.append(endpoint)
    }
    guard !endpoints.isEmpty || !discoveryDomain.isEmpty else {
      throw CommandFlags.Failure("no endpoints found")
    }
    self.endpoints = endpoints
    let address = values.text("listen-addr")
    guard let listen = GatewayEndpoint(address) else {
      throw CommandFlags.Failure(#"error parsing listen address "\#(address)""#)
    }
    self.listen = listen
    let delay = GoDuration.nanoseconds(values.duration("retry-delay"))
    guard delay > 0 else {
      throw CommandFlags.Failure("--retry-delay must be more than 0")
    }
    retryDelay = .nanoseconds(delay)
  }

  /// The configuration, with what DNS says. Throws what to tell the operator.
  package func resolve(logger: Logger) async throws -> GatewayConfiguration {
    var found = endpoints
    if !discoveryDomain.isEmpty {
      let discovered = try await EndpointDiscovery(
        domain: discoveryDomain,
        serviceName: discoveryServiceName,
        acceptsInsecure: acceptsInsecureRecords,
        trustedCAFile: trustedCAFile,
        logger: logger
      ).endpoints()
      if !discovered.isEmpty { found = discovered }
    }
    guard !found.isEmpty else { throw CommandFlags.Failure("no endpoints found") }
    var configuration = GatewayConfiguration(
      endpoints: found,
      listenHost: listen.host,
      listenPort: listen.port
    )
    configuration.retryDelay = retryDelay
    return configuration
  }
}

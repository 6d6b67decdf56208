import Discovery
import Flags
import Glibc
package import Logging
package import NIOCore
import RPC
import TLS

/// A proxy as its flags have it, before any name is looked up or file read.
package struct ProxyPlan: Sendable {
  let configuration: ProxyConfiguration
  let listen: RPCAddress
  /// Nil: no further address.
  let metrics: RPCAddress?
  /// Not given: used only when nothing is discovered by DNS.
  let endpoints: [String]
  let discoveryDomain: String
  let discoveryServiceName: String
  let acceptsInsecureRecords: Bool
  let upstreamTLS: ClientTLSSettings
  /// Nil: connections to the proxy are not encrypted.
  let listenTLS: TLSSettings?
  /// Where the proxy keeps a certificate that it makes for itself; nil: it makes none.
  let automaticTLSFolder: String?
  /// More is written to the log.
  package let isDebug: Bool

  init(_ values: CommandFlagValues) throws(CommandFlags.Failure) {
    for name in ProxyCommand.missing where values.isGiven(name) && values.text(name) != "false" {
      throw CommandFlags.Failure("--\(name) is not built; leave it out")
    }
    configuration = try Self.configuration(values)
    listen = try Self.address(values.text("listen-addr"), "listen-addr")
    let metricsText = values.text("metrics-addr")
    metrics = metricsText.isEmpty ? nil : try Self.address(metricsText, "metrics-addr")
    discoveryDomain = values.text("discovery-srv")
    discoveryServiceName = values.text("discovery-srv-name")
    acceptsInsecureRecords = values.bool("insecure-discovery")
    let isFallback = discoveryDomain.isEmpty || values.isGiven("endpoints")
    endpoints = isFallback ? values.list("endpoints") : []
    for endpoint in endpoints { _ = try Self.address(endpoint, "endpoints") }
    guard !endpoints.isEmpty || !discoveryDomain.isEmpty else {
      throw CommandFlags.Failure("no endpoints found")
    }
    var upstreamTLS = ClientTLSSettings()
    upstreamTLS.authoritiesFile = values.text("cacert")
    upstreamTLS.certificateFile = values.text("cert")
    upstreamTLS.keyFile = values.text("key")
    upstreamTLS.skipsVerification = values.bool("insecure-skip-tls-verify")
    self.upstreamTLS = upstreamTLS
    listenTLS = try Self.listenTLS(values)
    let isAutomatic = values.bool("auto-tls") && listenTLS == nil
    automaticTLSFolder = isAutomatic ? values.text("data-dir") + "/fixtures/proxy" : nil
    isDebug = values.bool("debug")
  }

  private static func configuration(
    _ values: CommandFlagValues
  ) throws(CommandFlags.Failure) -> ProxyConfiguration {
    var configuration = ProxyConfiguration()
    configuration.namespace = Array(values.text("namespace").utf8)
    configuration.advertisedURL = values.text("advertise-client-url")
    configuration.hostName = hostName
    configuration.resolverPrefix = values.text("resolver-prefix")
    configuration.resolverTTLSeconds = Int64(values.integer("resolver-ttl"))
    let hasPrefix = !configuration.resolverPrefix.isEmpty
    let hasTTL = configuration.resolverTTLSeconds > 0
    guard !hasPrefix || hasTTL else {
      throw CommandFlags.Failure("invalid resolver-ttl \(configuration.resolverTTLSeconds)")
    }
    guard hasPrefix || !values.isGiven("resolver-ttl") else {
      throw CommandFlags.Failure("invalid resolver-prefix \"\"")
    }
    guard !hasPrefix || !configuration.advertisedURL.isEmpty else {
      throw CommandFlags.Failure("invalid advertise-client-url \"\"")
    }
    configuration.sendBytesMax = values.integer("max-send-bytes")
    configuration.receiveBytesMax = values.integer("max-recv-bytes")
    configuration.concurrentStreamsMax = min(
      UInt32(clamping: values.integer("max-concurrent-streams")),
      configuration.concurrentStreamsMax
    )
    configuration.ordersSerializableReads = values.bool("experimental-serializable-ordering")
    configuration.keepaliveMinTime = try time(values, "grpc-keepalive-min-time")
    configuration.keepaliveInterval = try time(values, "grpc-keepalive-interval")
    configuration.keepaliveTimeout = try time(values, "grpc-keepalive-timeout")
    return configuration
  }

  private static func time(
    _ values: CommandFlagValues,
    _ name: String
  ) throws(CommandFlags.Failure) -> TimeAmount {
    let nanoseconds = GoDuration.nanoseconds(values.duration(name))
    guard nanoseconds >= 0 else {
      throw CommandFlags.Failure("--\(name) must not be negative")
    }
    // 0 turns the pings off: a time that does not come.
    return nanoseconds == 0 ? .hours(never) : .nanoseconds(nanoseconds)
  }

  /// Hours.
  private static let never: Int64 = 24 * 365 * 100

  private static func listenTLS(
    _ values: CommandFlagValues
  ) throws(CommandFlags.Failure) -> TLSSettings? {
    let (certificate, key) = (values.text("cert-file"), values.text("key-file"))
    let (authorities, revoked) = (values.text("trusted-ca-file"), values.text("client-crl-file"))
    guard !certificate.isEmpty || !key.isEmpty else {
      guard authorities.isEmpty, revoked.isEmpty else {
        throw CommandFlags.Failure("--trusted-ca-file and --client-crl-file need --cert-file")
      }
      return nil
    }
    guard !certificate.isEmpty, !key.isEmpty else {
      throw CommandFlags.Failure("--cert-file and --key-file are needed together")
    }
    var settings = TLSSettings(certificateFile: certificate, keyFile: key)
    settings.authoritiesFile = authorities
    settings.requiresClientCertificate = !authorities.isEmpty
    settings.revocationFile = revoked
    do {
      for name in values.list("listen-cipher-suites") {
        settings.cipherSuites.append(try CipherSuite(named: name))
      }
      try settings.check()
    } catch {
      throw CommandFlags.Failure("--listen-cipher-suites: \(error)")
    }
    return settings
  }

  /// Reads `host:port`, which may have a scheme.
  private static func address(
    _ text: String,
    _ flag: String
  ) throws(CommandFlags.Failure) -> RPCAddress {
    guard let address = RPCAddress(endpoint: text) else {
      throw CommandFlags.Failure(#"--\#(flag): error parsing address "\#(text)""#)
    }
    return address
  }

  private static var hostName: String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

extension RPCAddress {
  /// Reads `host:port` or `scheme://host:port`; no host is all addresses of the machine.
  init?(endpoint text: String) {
    var rest = text[...]
    for scheme in ["http://", "https://"] where rest.hasPrefix(scheme) {
      rest = rest.dropFirst(scheme.count)
    }
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    guard let colon = rest.lastIndex(of: ":"),
      let port = UInt16(rest[rest.index(after: colon)...])
    else { return nil }
    var host = rest[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") || host.contains("/") {
      return nil
    }
    self = .host(host.isEmpty ? "0.0.0.0" : String(host), port: Int(port))
  }
}

extension ProxyPlan {
  /// Makes and starts the proxy. Throws what to tell the operator.
  package func start(group: any EventLoopGroup, logger: Logger) async throws -> GRPCProxy {
    let proxy = GRPCProxy(
      configuration: configuration,
      endpoints: try await resolveEndpoints(logger),
      group: group,
      logger: logger
    )
    try await proxy.start()
    do {
      let bound = try await proxy.listen(on: listen, setup: try makeListenSetup(logger))
      if let metrics { try await proxy.listenForMetrics(on: metrics) }
      logger.info(
        "ready to proxy client requests",
        metadata: ["address": "\(bound?.description ?? listen.description)"]
      )
    } catch {
      await proxy.stop()
      throw error
    }
    return proxy
  }

  private func resolveEndpoints(_ logger: Logger) async throws -> [ProxyEndpoint] {
    var urls = endpoints
    if !discoveryDomain.isEmpty {
      let found = try await ClientServices.endpoints(
        of: discoveryDomain,
        serviceName: discoveryServiceName
      )
      let usable = found.filter { $0.isSecure || acceptsInsecureRecords }
      if !usable.isEmpty { urls = usable.map(\.url) }
    }
    guard !urls.isEmpty else { throw CommandFlags.Failure("no endpoints found") }
    let isSecure = upstreamTLS != ClientTLSSettings()
    var tls: DialingTLS?
    return try urls.compactMap { url in
      guard let address = RPCAddress(endpoint: url) else { return nil }
      guard isSecure || url.hasPrefix("https://") else { return ProxyEndpoint(address: address) }
      let dialing = try tls ?? DialingTLS(upstreamTLS, logger: logger)
      tls = dialing
      guard case .host(let host, _) = address else { return nil }
      return ProxyEndpoint(address: address) { try dialing.install(on: $0, host: host) }
    }
  }

  private func makeAutomaticTLS() throws -> TLSSettings? {
    guard let automaticTLSFolder, case .host(let host, _) = listen else { return nil }
    let files = try SelfSignedCertificate.ensure(
      in: automaticTLSFolder,
      hosts: [host],
      validityYears: Self.automaticValidityYears
    )
    return TLSSettings(certificateFile: files.certificate, keyFile: files.key)
  }

  private static let automaticValidityYears = 1

  private func makeListenSetup(_ logger: Logger) throws -> RPCServer.ChannelSetup? {
    guard let listenTLS = try listenTLS ?? makeAutomaticTLS() else { return nil }
    let tls = try ServerTLS(listenTLS, logger: logger)
    return { channel in
      try tls.install(on: channel) { PeerIdentity(commonName: $0) }
    }
  }
}

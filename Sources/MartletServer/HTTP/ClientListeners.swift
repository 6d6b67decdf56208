import Logging
import Membership
import NIOCore
import Peer
import RPC
import TLS

/// The sockets of a member that clients and operators connect to.
struct ClientListeners {
  /// What was bound, as `127.0.0.1:2379`: with the port that the system chose where none was given.
  struct Bound: Sendable {
    var client: [String] = []
    var http: [String] = []
    var metrics: [String] = []
    var peers: [String] = []
  }

  let server: RPCServer
  let configuration: ResolvedConfiguration
  let tls: ServerTLS?
  /// What the addresses of --listen-metrics-urls serve.
  let metricsHandler: any HTTPHandler

  /// Binds all addresses. Throws `StartError.listen`.
  func bind() async throws -> Bound {
    var bound = Bound()
    var options = ListenerOptions()
    options.reusesPort = configuration.source.socketReusePort
    let isSplit = !configuration.clientHTTPListeners.isEmpty
    options.http = isSplit ? .none : .shared
    bound.client = try await bind(configuration.clientListeners, options)
    options.servesCalls = false
    options.http = .shared
    bound.http = try await bind(configuration.clientHTTPListeners, options)
    options.http = .other(metricsHandler)
    bound.metrics = try await bind(configuration.metricsListeners, options)
    return bound
  }

  private func bind(_ urls: [ServerURL], _ options: ListenerOptions) async throws -> [String] {
    var addresses: [String] = []
    for (index, url) in urls.enumerated() {
      let sharing = urls.indices.filter { urls[$0].sharesAddress(with: url) }
      // http:// and https:// of one address are one socket.
      if let first = sharing.first, first < index { continue }
      let isSecure = url.isSecure || sharing.contains { urls[$0].isSecure }
      let isPlain = !url.isSecure || sharing.contains { !urls[$0].isSecure }
      var options = options
      options.isSecure = isSecure && !isPlain
      do {
        addresses.append(
          try await bind(url, options, isSecure ? setup(acceptsPlain: isPlain) : nil)
        )
      } catch {
        throw StartError.listen(address: url.description, reason: "\(error)")
      }
    }
    return addresses
  }

  private func bind(
    _ url: ServerURL,
    _ options: ListenerOptions,
    _ setup: RPCServer.ChannelSetup?
  ) async throws -> String {
    guard !url.isUnixSocket else {
      try await server.listen(on: .unix(path: url.host), options: options, setup: setup)
      return "unix:\(url.host)"
    }
    let address = RPCAddress.host(url.host, port: Int(url.port))
    let bound = try await server.listen(on: address, options: options, setup: setup)
    return "\(url.host):\(bound?.port ?? Int(url.port))"
  }

  private func setup(acceptsPlain: Bool) -> RPCServer.ChannelSetup? {
    guard let tls else { return nil }
    return { channel in
      try tls.install(on: channel, acceptsPlain: acceptsPlain) { PeerIdentity(commonName: $0) }
    }
  }
}

extension ResolvedConfiguration {
  /// The TLS of the plan, with its files read or made; nil when there is none. Throws `TLSError`.
  func makeTLS(logger: Logger) throws -> ServerTLS? {
    try security.map { try makeTLS($0, folder: "client", logger: logger) }
  }

  /// The same for members; for both sides of their connections.
  func makePeerTLS(logger: Logger) throws -> PeerTLS? {
    guard let plan = peerSecurity else { return nil }
    return PeerTLS(
      server: try makeTLS(plan.listening, folder: "peer", logger: logger),
      client: try DialingTLS(plan.dialing, logger: logger)
    )
  }

  private func makeTLS(
    _ plan: TransportSecurityPlan,
    folder: String,
    logger: Logger
  ) throws -> ServerTLS {
    var settings = plan.settings
    if let automatic = plan.automatic {
      let files = try SelfSignedCertificate.ensure(
        in: "\(dataDirectoryPath)/fixtures/\(folder)",
        hosts: automatic.hosts,
        validityYears: automatic.validityYears
      )
      if files.isNew {
        logger.warning(
          "made a self-signed certificate",
          metadata: ["certificate": "\(files.certificate)", "key": "\(files.key)"]
        )
      }
      settings.certificateFile = files.certificate
      settings.keyFile = files.key
    }
    return try ServerTLS(settings, logger: logger)
  }
}

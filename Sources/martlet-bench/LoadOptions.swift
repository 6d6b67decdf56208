import ArgumentParser
import RPC
import TLS

/// What every load has in common.
struct LoadOptions: ParsableArguments {
  @Option(help: "Servers, host:port, separated by commas; connections take them in turn.")
  var endpoints = "127.0.0.1:2379"

  @Option(name: [.long, .customLong("conns")], help: "Connections, over all event loops.")
  var connections = 1

  @Option(help: "Calls under way at a time, over all connections.")
  var clients = 1

  @Option(help: "Calls to make.")
  var total = 10_000

  @Option(help: "Calls a second to start whatever the server does; 0: each when another ends.")
  var rate = 0

  @Option(help: "Event loops that make the load.")
  var threads = 1

  @Flag(help: "Print the report as one line of JSON.")
  var json = false

  @OptionGroup var tls: TLSOptions

  mutating func validate() throws {
    for (name, value) in [("connections", connections), ("clients", clients), ("total", total)]
    where value < 1 {
      throw ValidationError("--\(name) must be at least 1, is \(value)")
    }
    guard threads >= 1, threads <= connections else {
      throw ValidationError("--threads must be from 1 to the number of connections")
    }
    guard clients >= connections else {
      throw ValidationError("--clients must be at least the number of connections")
    }
    guard rate >= 0 else { throw ValidationError("--rate must not be negative") }
    _ = try addresses()
  }

  /// The servers' addresses.
  func addresses() throws -> [RPCAddress] { try Self.addresses(endpoints) }

  static func addresses(_ endpoints: String) throws -> [RPCAddress] {
    try endpoints.split(separator: ",").map { endpoint in
      let scheme = ["http://", "https://"].first { endpoint.hasPrefix($0) } ?? ""
      let text = endpoint.dropFirst(scheme.count)
      guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
        (1...65_535).contains(port), colon > text.startIndex
      else { throw ValidationError("not an endpoint: \(endpoint)") }
      return .host(String(text[..<colon]), port: port)
    }
  }
}

/// How the connections are encrypted; with an https:// endpoint or any of these, they are.
struct TLSOptions: ParsableArguments {
  @Option(help: "File of the authorities that sign the servers' certificates.")
  var cacert = ""

  @Option(help: "File of the certificate to show.")
  var cert = ""

  @Option(help: "File of that certificate's key.")
  var key = ""

  @Flag(help: "Do not look at the servers' certificates.")
  var insecureSkipTlsVerify = false

  /// Reads the files; nil when the connections are plain.
  func client(endpoints: String) throws -> ClientTLS? {
    let isSecure = endpoints.split(separator: ",").contains { $0.hasPrefix("https://") }
    guard isSecure || insecureSkipTlsVerify || !cacert.isEmpty || !cert.isEmpty else { return nil }
    var settings = ClientTLSSettings()
    settings.authoritiesFile = cacert
    settings.certificateFile = cert
    settings.keyFile = key
    settings.skipsVerification = insecureSkipTlsVerify
    return try ClientTLS(settings)
  }
}

extension ClientTLS {
  /// The settings of a connection to `address` with this TLS, or a plain one.
  static func configuration(_ tls: ClientTLS?, _ address: RPCAddress) -> RPCClientConfiguration {
    var configuration = RPCClientConfiguration()
    guard let tls, case .host(let host, _) = address else { return configuration }
    configuration.isSecure = true
    configuration.setup = { channel in try tls.install(on: channel, host: host) }
    return configuration
  }
}

/// Which keys and values a load uses.
struct KeyOptions: ParsableArguments {
  @Option(help: "Bytes of a key.")
  var keySize = 8

  @Option(help: "Bytes of a value.")
  var valSize = 8

  @Option(help: "Different keys.")
  var keySpaceSize = 1

  @Flag(help: "Take the keys in order rather than at random.")
  var sequentialKeys = false

  @Option(help: "Start of the random choices.")
  var seed: UInt64 = 1

  mutating func validate() throws {
    guard keySize >= 1, keySize <= 64 << 10 else {
      throw ValidationError("--key-size must be from 1 to 65536")
    }
    guard valSize >= 0, valSize <= 16 << 20 else {
      throw ValidationError("--val-size must be from 0 to 16777216")
    }
    guard keySpaceSize >= 1 else { throw ValidationError("--key-space-size must be at least 1") }
  }
}

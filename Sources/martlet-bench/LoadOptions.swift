import ArgumentParser
import RPC

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
  func addresses() throws -> [RPCAddress] {
    try endpoints.split(separator: ",").map { endpoint in
      let text = endpoint.hasPrefix("http://") ? endpoint.dropFirst("http://".count) : endpoint
      guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
        (1...65_535).contains(port), colon > text.startIndex
      else { throw ValidationError("not an endpoint: \(endpoint)") }
      return .host(String(text[..<colon]), port: port)
    }
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

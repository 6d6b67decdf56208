import ArgumentParser
import RPC

/// What the watching loads have in common.
struct WatchOptions: ParsableArguments {
  @Option(help: "Servers, host:port, separated by commas; connections take them in turn.")
  var endpoints = "127.0.0.1:2379"

  @Option(name: [.long, .customLong("conns")], help: "Connections that carry watches.")
  var connections = 1

  @Option(help: "Watch streams, over all connections.")
  var streams = 1

  @Option(name: [.long, .customLong("watch-per-stream")], help: "Watches on each stream.")
  var watchersPerStream = 1

  @Option(help: "Streams beside those, each on a connection of its own, that never read.")
  var slowStreams = 0

  @Option(
    name: [.long, .customLong("watched-key-total")],
    help: "Different keys that are watched and put; watches take them in turn."
  )
  var watchedKeys = 1

  @Flag(help: "Ask for the pairs as they were before.")
  var prevKv = false

  @Option(help: "Bytes of a key.")
  var keySize = 16

  @Option(help: "Bytes of a value; the first 8 carry the time.")
  var valSize = 64

  @Option(name: [.long, .customLong("put-total")], help: "Puts to make on the watched keys.")
  var total = 1_000

  @Option(
    name: [.long, .customLong("put-rate")],
    help: "Puts a second to start whatever the server does; 0: each when another ends."
  )
  var rate = 0

  @Option(name: .customLong("put-clients"), help: "Puts under way at a time.")
  var clients = 1

  @Option(help: "Event loops that read events; the puts have one of their own.")
  var threads = 1

  @Option(help: "Give up when no event comes for so many seconds.")
  var idleSeconds = 30

  @Flag(
    help: """
      Make the watches, print a line, and hold them until standard input ends; nothing is put.
      """
  )
  var hold = false

  @Flag(help: "Print the report as one line of JSON.")
  var json = false

  mutating func validate() throws {
    for (name, value) in [
      ("connections", connections), ("streams", streams), ("watched-keys", watchedKeys),
      ("watchers-per-stream", watchersPerStream), ("total", total), ("put-clients", clients),
      ("threads", threads), ("idle-seconds", idleSeconds),
    ] where value < 1 {
      throw ValidationError("--\(name) must be at least 1, is \(value)")
    }
    guard connections <= streams, threads <= connections else {
      throw ValidationError("there must be --threads <= --connections <= --streams")
    }
    guard slowStreams >= 0, rate >= 0 else {
      throw ValidationError("--slow-streams and --rate must not be negative")
    }
    guard (1...64 << 10).contains(keySize),
      (TimedPutWorkload.stampBytes...1 << 20).contains(valSize)
    else {
      throw ValidationError("--key-size must be from 1 to 65536, --val-size from 8 to 1048576")
    }
    _ = try addresses()
  }

  func addresses() throws -> [RPCAddress] { try LoadOptions.addresses(endpoints) }

  /// The keys as the putting side takes them: in order, so that each gets its share.
  var keys: KeyOptions {
    var keys = KeyOptions()
    keys.keySize = keySize
    keys.valSize = valSize
    keys.keySpaceSize = watchedKeys
    keys.sequentialKeys = true
    keys.seed = 1
    return keys
  }

  /// How many of the puts go to a key.
  func puts(onKey key: Int) -> Int {
    total / watchedKeys + (key < total % watchedKeys ? 1 : 0)
  }
}

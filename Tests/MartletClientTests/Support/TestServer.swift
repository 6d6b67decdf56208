import Foundation
import Logging
import MartletClient
import MartletServer
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// A directory that is gone when the object is.
final class TestFolder: Sendable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("martlet-client-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }
}

/// A server that tests run against.
enum ServerKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
  /// A member in this process.
  case martlet
  /// Debian's etcd, as a process.
  case etcd

  static let etcdPath = "/usr/bin/etcd"

  /// The kinds that this machine has.
  static var available: [ServerKind] {
    FileManager.default.isExecutableFile(atPath: etcdPath) ? [.martlet, .etcd] : [.martlet]
  }

  var testDescription: String { rawValue }

  /// Runs `body` with the address, `127.0.0.1:port`, of a new server.
  func run(_ body: (String) async throws -> Void) async throws {
    switch self {
    case .martlet: try await withMember { _, address in try await body(address) }
    case .etcd: try await EtcdProcess.run(body)
    }
  }

  /// Runs `body` with a client of a new server.
  func withClient(_ body: (Client) async throws -> Void) async throws {
    try await run { address in
      try await MartletClientTests.withClient([address], { _ in }, body)
    }
  }
}

/// Bounds how many servers run at once: tests with times in them need a machine that keeps up.
final class ServerGate: Sendable {
  static let shared = ServerGate(count: 3)

  private struct State {
    var freeCount: Int
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  private let state: Mutex<State>

  private init(count: Int) {
    state = Mutex(State(freeCount: count))
  }

  func enter() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.freeCount > 0 else {
          state.waiting.append(continuation)
          return false
        }
        state.freeCount -= 1
        return true
      }
      if isFree { continuation.resume() }
    }
  }

  func leave() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
      state.freeCount += 1
      return nil
    }
    next?.resume()
  }
}

/// Runs `body` with a new member in this process and its address.
func withMember(
  _ change: (inout ServerConfiguration) -> Void = { _ in },
  _ body: (EmbeddedMember, String) async throws -> Void
) async throws {
  await ServerGate.shared.enter()
  defer { ServerGate.shared.leave() }
  let folder = try TestFolder()
  var configuration = ServerConfiguration()
  configuration.dataDirectory = "\(folder.path)/data"
  configuration.listenClientURLs = ["http://127.0.0.1:0"]
  configuration.listenPeerURLs = ["http://127.0.0.1:0"]
  configuration.unsafeNoFsync = true
  configuration.bcryptCost = 4
  change(&configuration)
  let member = try await EmbeddedMember.start(configuration, logger: silentLogger)
  do {
    try await body(member, try #require(member.clientAddresses.first))
  } catch {
    await member.stop()
    throw error
  }
  await member.stop()
  withExtendedLifetime(folder) {}
}

/// Runs `body` with a new member that has one setting of its own.
func withMember<Value>(
  _ setting: WritableKeyPath<ServerConfiguration, Value>,
  _ value: Value,
  _ body: (EmbeddedMember, String) async throws -> Void
) async throws {
  func set(_ configuration: inout ServerConfiguration) { configuration[keyPath: setting] = value }
  try await withMember(set, body)
}

/// Runs `body` with a client, and closes it whatever happens.
func withClient(
  _ endpoints: [String],
  _ change: (inout ClientConfiguration) -> Void = { _ in },
  _ body: (Client) async throws -> Void
) async throws {
  var configuration = ClientConfiguration(endpoints: endpoints)
  configuration.deadline = .seconds(60)
  change(&configuration)
  let client = try Client(configuration)
  do {
    try await body(client)
  } catch {
    await client.close()
    throw error
  }
  await client.close()
}

/// Runs `body` with a client that has one setting of its own.
func withClient<Value>(
  _ endpoints: [String],
  _ setting: WritableKeyPath<ClientConfiguration, Value>,
  _ value: Value,
  _ body: (Client) async throws -> Void
) async throws {
  func set(_ configuration: inout ClientConfiguration) { configuration[keyPath: setting] = value }
  try await withClient(endpoints, set, body)
}

/// Runs `body` with a client of a new member in this process.
func withMartlet(
  _ change: (inout ServerConfiguration) -> Void = { _ in },
  _ body: (Client) async throws -> Void
) async throws {
  try await withMember(change) { _, address in
    try await withClient([address], { _ in }, body)
  }
}

var silentLogger: Logger {
  Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
}

/// Debian's etcd.
enum EtcdProcess {
  /// A bound on the life of a process whose test died, in seconds.
  static let lifeSecondsMax = 120

  static func run(_ body: (String) async throws -> Void) async throws {
    await ServerGate.shared.enter()
    defer { ServerGate.shared.leave() }
    let folder = try TestFolder()
    let (client, peer) = try await freePorts()
    let process = try spawn([
      "/usr/bin/timeout", "-s", "KILL", "\(lifeSecondsMax)", ServerKind.etcdPath,
      "--data-dir", "\(folder.path)/data", "--log-level", "error",
      "--listen-client-urls", "http://127.0.0.1:\(client)",
      "--advertise-client-urls", "http://127.0.0.1:\(client)",
      "--listen-peer-urls", "http://127.0.0.1:\(peer)",
      "--initial-advertise-peer-urls", "http://127.0.0.1:\(peer)",
      "--initial-cluster", "default=http://127.0.0.1:\(peer)",
      "--unsafe-no-fsync",
    ])
    defer {
      // The process and its child are a group of their own.
      kill(-process, SIGKILL)
      waitpid(process, nil, 0)
    }
    try await waitUntilListening(client)
    try await body("127.0.0.1:\(client)")
    withExtendedLifetime(folder) {}
  }

  /// What writes to a server that does not listen yet through a proxy learns nothing of its outcome.
  private static func waitUntilListening(_ port: Int) async throws {
    let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
    try await eventually {
      guard let channel = try? await bootstrap.connect(host: "127.0.0.1", port: port).get() else {
        return false
      }
      try await channel.close()
      return true
    }
  }

  /// Runs its arguments without the sockets of other tests: a port would go on to accept as long as
  /// the child has it.
  private static let closeInherited = """
    for file in /proc/self/fd/*; do
      number=${file##*/}
      if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
    done
    exec "$@"
    """

  /// Starts a process that leads a group of its own, with no signals blocked and no output.
  private static func spawn(_ arguments: [String]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in 0...2 as ClosedRange<Int32> {
      posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    let flags = POSIX_SPAWN_SETPGROUP | Int32(POSIX_SPAWN_SETSIGMASK)
    posix_spawnattr_setflags(&attributes, Int16(flags))
    let command = ["/bin/bash", "-c", closeInherited, "bash"] + arguments
    var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    defer { for word in words { free(word) } }
    words.append(nil)
    var process: pid_t = 0
    let code = posix_spawn(&process, command[0], &actions, &attributes, words, environ)
    try #require(code == 0, "posix_spawn: \(code)")
    return process
  }

  /// Two ports on which nobody listens, and which the system gives to nobody who asks for any.
  private static func freePorts() async throws -> (Int, Int) {
    while true {
      let port = Int.random(in: 20_000..<32_000)
      let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      guard let first = try? await bootstrap.bind(host: "127.0.0.1", port: port).get() else {
        continue
      }
      let second = try? await bootstrap.bind(host: "127.0.0.1", port: port + 1).get()
      try await first.close()
      guard let second else { continue }
      try await second.close()
      return (port, port + 1)
    }
  }
}

/// Checks how a call fails.
func expectFailure(
  _ code: ClientError.Code,
  _ outcome: ClientError.Outcome? = nil,
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async {
  do {
    try await body()
    Issue.record("the call succeeded", sourceLocation: sourceLocation)
  } catch let error as ClientError {
    #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
    if let outcome {
      #expect(error.outcome == outcome, "\(error)", sourceLocation: sourceLocation)
    }
  } catch {
    Issue.record("\(error)", sourceLocation: sourceLocation)
  }
}

/// Waits until `condition` holds; gives up after a minute.
func eventually(
  sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () async throws -> Bool
) async throws {
  for _ in 0..<6000 {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(10))
  }
  Issue.record("it has not come to be", sourceLocation: sourceLocation)
}

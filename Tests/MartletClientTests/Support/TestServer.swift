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

  func write(_ text: String, to name: String) throws {
    try text.write(toFile: "\(path)/\(name)", atomically: true, encoding: .utf8)
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
  /// That of Debian's next release, which `Tests/install` unpacks.
  case newerEtcd
  /// Three members in this process.
  case cluster

  /// With MARTLET_LONG=1 the whole suite also runs against three members and the newer etcd.
  static let isLong = ProcessInfo.processInfo.environment["MARTLET_LONG"] == "1"

  /// The kinds that this machine has, and time allows.
  static var available: [ServerKind] { isLong ? all : single }

  /// The kinds with one member.
  static var single: [ServerKind] {
    let etcds: [ServerKind] = isLong ? [.etcd, .newerEtcd] : [.etcd]
    return [.martlet]
      + etcds.filter { FileManager.default.isExecutableFile(atPath: $0.etcdPath ?? "") }
  }

  /// The program of a kind that is an etcd.
  var etcdPath: String? {
    switch self {
    case .martlet, .cluster: nil
    case .etcd: "/usr/bin/etcd"
    case .newerEtcd:
      URL(fileURLWithPath: #filePath)
        .appendingPathComponent("../../../../.build/newer-etcd/usr/bin/etcd").standardized.path
    }
  }

  /// For the tests that always run against three members too.
  static var all: [ServerKind] { single + [.cluster] }

  var testDescription: String { rawValue }

  /// Runs `body` with the address, `127.0.0.1:port`, of a new server; of a member that does not lead
  /// where there are several.
  func run(_ body: (String) async throws -> Void) async throws {
    switch self {
    case .martlet: try await withMember { _, address in try await body(address) }
    case .etcd, .newerEtcd: try await EtcdProcess.run(self, [], body)
    case .cluster:
      try await TestCluster.run { cluster in
        let leader = try await cluster.leader()
        try await body(try cluster.address((leader + 1) % cluster.size))
      }
    }
  }

  /// Runs `body` with a client of a new server, of all its members where there are several.
  func withClient(_ body: (Client) async throws -> Void) async throws {
    if self == .cluster {
      try await TestCluster.run { cluster in
        try await MartletClientTests.withClient(cluster.addresses, { _ in }, body)
      }
    } else {
      try await run { address in
        try await MartletClientTests.withClient([address], { _ in }, body)
      }
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

import Base
import Logging
import MartletServer
import NIOCore
import NIOPosix
import Proto
import RPC
import Testing

/// A member in a folder of its own, on a port that the system chose, and a client of it.
final class TestMember: Sendable {
  let member: EmbeddedMember
  let client: RPCClient
  let port: Int

  var kv: KVClient { KVClient(client) }
  var maintenance: MaintenanceClient { MaintenanceClient(client) }
  var cluster: ClusterClient { ClusterClient(client) }

  /// Shared by the clients of all tests; lives as long as the process.
  static let group = MultiThreadedEventLoopGroup.singleton

  private init(member: EmbeddedMember, port: Int) {
    self.member = member
    self.port = port
    client = RPCClient(address: .host("127.0.0.1", port: port), group: Self.group)
  }

  static func configuration(in folder: TemporaryFolder) -> ServerConfiguration {
    var configuration = ServerConfiguration()
    configuration.dataDirectory = "\(folder.path)/data"
    configuration.listenClientURLs = ["http://127.0.0.1:0"]
    configuration.listenPeerURLs = ["http://127.0.0.1:0"]
    return configuration
  }

  static func start(
    in folder: TemporaryFolder,
    logger: Logger = TestMember.silentLogger,
    levelControl: LogLevelControl? = nil,
    _ change: (inout ServerConfiguration) -> Void = { _ in }
  ) async throws -> TestMember {
    var configuration = configuration(in: folder)
    change(&configuration)
    let member = try await EmbeddedMember.start(
      configuration,
      logger: logger,
      levelControl: levelControl
    )
    let address = try #require(member.clientAddresses.first)
    let port = try #require(address.split(separator: ":").last.flatMap { Int($0) })
    return TestMember(member: member, port: port)
  }

  static var silentLogger: Logger {
    Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
  }

  func stop() async {
    await client.shutdown()
    await member.stop()
  }
}

/// Runs `body` with a member in a new folder, and stops the member whatever happens.
func withMember(
  _ change: (inout ServerConfiguration) -> Void = { _ in },
  logger: Logger = TestMember.silentLogger,
  levelControl: LogLevelControl? = nil,
  _ body: (TestMember) async throws -> Void
) async throws {
  let folder = try TemporaryFolder()
  let member = try await TestMember.start(
    in: folder,
    logger: logger,
    levelControl: levelControl,
    change
  )
  do {
    try await body(member)
  } catch {
    await member.stop()
    throw error
  }
  await member.stop()
  withExtendedLifetime(folder) {}
}

/// Runs `body` with a member that has one setting of its own, and a log that the test may read.
func withMember<Value>(
  _ setting: WritableKeyPath<ServerConfiguration, Value>,
  _ value: Value,
  logger: Logger = TestMember.silentLogger,
  _ body: (TestMember) async throws -> Void
) async throws {
  func set(_ configuration: inout ServerConfiguration) { configuration[keyPath: setting] = value }
  try await withMember(set, logger: logger, body)
}

/// Checks how a call fails.
func expectFailure(
  _ code: RPCCode,
  _ message: String? = nil,
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async {
  do {
    try await body()
    Issue.record("the call succeeded", sourceLocation: sourceLocation)
  } catch let error as RPCError {
    #expect(error.code == code, sourceLocation: sourceLocation)
    if let message { #expect(error.status.message == message, sourceLocation: sourceLocation) }
  } catch {
    Issue.record("\(error)", sourceLocation: sourceLocation)
  }
}

extension Etcdserverpb.PutRequest {
  init(_ key: String, _ value: String) {
    self.init(key: Array(key.utf8), value: Array(value.utf8))
  }
}

extension Etcdserverpb.RangeRequest {
  init(_ key: String, _ end: String = "") {
    self.init(key: Array(key.utf8), rangeEnd: Array(end.utf8))
  }

  /// Every key.
  static var all: Self { Self(key: [0], rangeEnd: [0]) }
}

extension Mvccpb.KeyValue {
  var text: String {
    "\(String(decoding: key, as: UTF8.self))=\(String(decoding: value, as: UTF8.self))"
  }
}

import Base
import Logging
import MartletServer
import NIOPosix
import Proto
import RPC
import Synchronization
import Testing

/// Several members of one cluster in this process. Their peers' addresses are sockets in a folder, so
/// that no test takes another's port.
final class TestCluster: Sendable {
  /// One member, running or not.
  struct Node: Sendable {
    var member: EmbeddedMember
    var client: RPCClient
    var kv: KVClient { KVClient(client) }
    var maintenance: MaintenanceClient { MaintenanceClient(client) }
    var cluster: ClusterClient { ClusterClient(client) }
  }

  static let names = ["a", "b", "c", "d", "e"]

  let folder: TemporaryFolder
  let size: Int
  private let change: @Sendable (Int, inout ServerConfiguration) -> Void
  private let peerURL: @Sendable (Int) -> String
  private let logger: Logger
  private let running = Mutex<[Int: Node]>([:])

  init(
    _ size: Int,
    logger: Logger = TestMember.silentLogger,
    peerURL: (@Sendable (Int) -> String)? = nil,
    _ change: @escaping @Sendable (Int, inout ServerConfiguration) -> Void = { _, _ in }
  ) throws {
    let folder = try TemporaryFolder()
    self.folder = folder
    self.size = size
    self.change = change
    self.logger = logger
    self.peerURL = peerURL ?? { [path = folder.path] in "unix://\(path)/\(Self.names[$0]).sock" }
  }

  func configuration(_ index: Int) -> ServerConfiguration {
    var configuration = ServerConfiguration()
    configuration.name = Self.names[index]
    configuration.dataDirectory = "\(folder.path)/\(Self.names[index])"
    configuration.listenClientURLs = ["http://127.0.0.1:0"]
    configuration.listenPeerURLs = [peerURL(index)]
    configuration.initialAdvertisePeerURLs = [peerURL(index)]
    configuration.initialCluster = (0..<size)
      .map { "\(Self.names[$0])=\(peerURL($0))" }.joined(separator: ",")
    // Under a load of other tests, a second is soon over.
    configuration.heartbeatInterval = .milliseconds(200)
    configuration.electionTimeout = .seconds(2)
    change(index, &configuration)
    return configuration
  }

  func start(_ index: Int) async throws {
    let member = try await EmbeddedMember.start(configuration(index), logger: logger)
    let address = try #require(member.clientAddresses.first)
    let port = try #require(address.split(separator: ":").last.flatMap { Int($0) })
    let client = RPCClient(address: .host("127.0.0.1", port: port), group: TestMember.group)
    running.withLock { $0[index] = Node(member: member, client: client) }
  }

  /// Starts members side by side: each waits for a leader.
  func start(_ indexes: [Int]) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in indexes { group.addTask { try await self.start(index) } }
      try await group.waitForAll()
    }
  }

  func node(_ index: Int) throws -> Node {
    try #require(running.withLock { $0[index] }, "member \(Self.names[index]) does not run")
  }

  /// A member, if it runs now.
  func runningNode(_ index: Int) -> Node? { running.withLock { $0[index] } }

  var indexes: [Int] { running.withLock { $0.keys.sorted() } }

  func stop(_ index: Int) async {
    guard let node = running.withLock({ $0.removeValue(forKey: index) }) else { return }
    await node.client.shutdown()
    await node.member.stop()
  }

  /// Stops a member under its clients, who see what it says to the last.
  func stopServing(_ index: Int) async {
    guard let node = running.withLock({ $0[index] }) else { return }
    await node.member.stop()
    running.withLock { $0[index] = nil }
    await node.client.shutdown()
  }

  func stopAll() async {
    await withTaskGroup(of: Void.self) { group in
      for index in indexes { group.addTask { await self.stop(index) } }
    }
  }

  /// The member that leads, as the members that run agree.
  func leader(within seconds: Int = 30) async throws -> Int {
    try await eventually(within: seconds, "a leader") { try await agreedLeader() }
  }

  /// The member that leads if all members that run say the same.
  private func agreedLeader() async throws -> Int? {
    // In two functions: the release compiler of 6.3 crashes on them as one.
    var reports: [LeaderReport] = []
    for index in indexes { reports.append(try await leaderReport(of: index)) }
    guard let leader = reports.first?.leader, reports.allSatisfy({ $0.leader == leader }) else {
      return nil
    }
    return reports.first { $0.memberID == leader }?.index
  }

  private struct LeaderReport {
    var index: Int
    var memberID: UInt64
    var leader: UInt64
  }

  @inline(never)
  private func leaderReport(of index: Int) async throws -> LeaderReport {
    let status = try await node(index).maintenance.status(Etcdserverpb.StatusRequest())
    return LeaderReport(
      index: index,
      memberID: status.header?.memberID ?? 0,
      leader: status.leader
    )
  }

  /// Waits until a member's own state has the pair.
  func expect(_ key: String, _ value: String, at index: Int, within seconds: Int = 30) async throws
  {
    _ = try await eventually(within: seconds, "\(key)=\(value) at \(Self.names[index])") {
      var request = Etcdserverpb.RangeRequest(key)
      request.serializable = true
      let response = try await node(index).kv.range(request)
      return response.kvs.first?.text == "\(key)=\(value)" ? true : nil
    }
  }

  /// Puts at the member that leads, whoever that is.
  func put(_ key: String, _ value: String, within seconds: Int = 30) async throws {
    _ = try await eventually(within: seconds, "put of \(key)") {
      let leader = try await leader(within: seconds)
      return try? await node(leader).kv.put(Etcdserverpb.PutRequest(key, value))
    }
  }
}

/// Asks again and again until there is an answer.
@inline(never)
func eventually<Value>(
  within seconds: Int,
  _ what: String,
  _ body: () async throws -> Value?
) async throws -> Value {
  let end = ContinuousClock.now + .seconds(seconds)
  while true {
    if let value = try await body() { return value }
    guard ContinuousClock.now < end else {
      throw Overdue(what: what, seconds: seconds)
    }
    try await Task.sleep(for: .milliseconds(10))
  }
}

struct Overdue: Error, CustomStringConvertible {
  let what: String
  let seconds: Int

  var description: String { "not within \(seconds) seconds: \(what)" }
}

/// Runs `body` with a cluster all of whose members run, and stops them whatever happens.
func withCluster(
  _ size: Int,
  logger: Logger = TestMember.silentLogger,
  peerURL: (@Sendable (Int) -> String)? = nil,
  _ change: @escaping @Sendable (Int, inout ServerConfiguration) -> Void = { _, _ in },
  _ body: (TestCluster) async throws -> Void
) async throws {
  let cluster = try TestCluster(size, logger: logger, peerURL: peerURL, change)
  do {
    try await cluster.start(Array(0..<size))
    try await body(cluster)
  } catch {
    await cluster.stopAll()
    throw error
  }
  await cluster.stopAll()
}

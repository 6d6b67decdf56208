import MartletClient
import MartletServer
import Synchronization
import Testing

/// Three members of one cluster in this process. They reach each other by sockets in a folder, and
/// keep their clients' ports when they are stopped and started again.
final class TestCluster: Sendable {
  private static let names = ["a", "b", "c"]

  let size = TestCluster.names.count
  private let folder: TestFolder
  private let ports: [Int]
  private let members = Mutex<[Int: EmbeddedMember]>([:])

  private init(_ ports: [Int]) throws {
    folder = try TestFolder()
    self.ports = ports
  }

  /// Runs `body` with a new cluster all of whose members run, and stops them whatever happens.
  static func run(_ body: (TestCluster) async throws -> Void) async throws {
    await ServerGate.shared.enter()
    defer { ServerGate.shared.leave() }
    var ports: [Int] = []
    while ports.count < names.count {
      let port = try await EtcdProcess.freePorts().0
      if !ports.contains(port) { ports.append(port) }
    }
    let cluster = try TestCluster(ports)
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<cluster.size { group.addTask { try await cluster.start(index) } }
        try await group.waitForAll()
      }
      try await body(cluster)
    } catch {
      await cluster.stopAll()
      throw error
    }
    await cluster.stopAll()
  }

  private func peerURL(_ index: Int) -> String { "unix://\(folder.path)/\(Self.names[index])" }

  private func configuration(_ index: Int) -> ServerConfiguration {
    var configuration = ServerConfiguration()
    configuration.name = Self.names[index]
    configuration.dataDirectory = "\(folder.path)/\(Self.names[index]).data"
    configuration.listenClientURLs = ["http://127.0.0.1:\(ports[index])"]
    configuration.advertiseClientURLs = configuration.listenClientURLs
    configuration.listenPeerURLs = [peerURL(index)]
    configuration.initialAdvertisePeerURLs = [peerURL(index)]
    configuration.initialCluster = (0..<size)
      .map { "\(Self.names[$0])=\(peerURL($0))" }.joined(separator: ",")
    // Under a load of other tests, a second is soon over.
    configuration.heartbeatInterval = .milliseconds(100)
    configuration.electionTimeout = .seconds(1)
    configuration.unsafeNoFsync = true
    configuration.bcryptCost = 4
    return configuration
  }

  func start(_ index: Int) async throws {
    let member = try await EmbeddedMember.start(configuration(index), logger: silentLogger)
    members.withLock { $0[index] = member }
  }

  func stop(_ index: Int) async {
    await members.withLock { $0.removeValue(forKey: index) }?.stop()
  }

  private func stopAll() async {
    await withTaskGroup(of: Void.self) { group in
      for index in 0..<size { group.addTask { await self.stop(index) } }
    }
  }

  /// Where clients reach the members, whether they run or not.
  var addresses: [String] { ports.map { "127.0.0.1:\($0)" } }

  func address(_ index: Int) throws -> String {
    try #require(addresses.indices.contains(index) ? addresses[index] : nil)
  }

  /// The member that leads, as it says itself.
  func leader() async throws -> Int {
    var leader: Int?
    try await eventually {
      leader = try await findLeader()
      return leader != nil
    }
    return try #require(leader)
  }

  private func findLeader() async throws -> Int? {
    for index in members.withLock({ $0.keys.sorted() }) {
      if try await isLeader(index) { return index }
    }
    return nil
  }

  private func isLeader(_ index: Int) async throws -> Bool {
    var isLeader = false
    try await withClient([try address(index)]) { client in
      let status = try await client.maintenance.status()
      isLeader = status.leader == status.header.memberID
    }
    return isLeader
  }

  /// Has another member lead, and returns which.
  @discardableResult
  func moveLeader() async throws -> Int {
    let old = try await leader()
    let target = (old + 1) % size
    try await withClient([try address(old), try address(target)]) { client in
      let addresses = client.endpoints
      let id = try await client.maintenance.status(of: addresses[1]).header.memberID
      try await client.maintenance.moveLeader(to: id, asking: addresses[0])
    }
    try await eventually { try await isLeader(target) }
    return target
  }
}

import Base
import MVCC
import Membership
import Proto
import Raft
import Watch

/// The event loop with the watches of one life of a member, and the connections of its clients.
final class SimulatedWatches: WatchOutput {
  private struct Connection {
    var watcher: WatcherClient
    var stream: WatchStream?
    /// Responses on their way.
    var underWay = 0
    var isAwaited = false
    /// The response sent last arrives then; none overtakes it.
    var arrival: UInt64 = 0
  }

  private unowned let simulation: Simulation
  private let node: SimulatedNode
  private let store: Store
  private let reader: StoreReader
  private var hub: WatchHub?
  private let seed: UInt64
  private var connections: [UInt64: Connection] = [:]

  /// How many responses may be on their way on one connection.
  static let underWayMax = 3

  init(_ simulation: Simulation, _ node: SimulatedNode, store: Store, seed: UInt64) {
    self.simulation = simulation
    self.node = node
    self.store = store
    self.seed = seed
    reader = store.makeReader()
  }

  var header: ResponseHeader {
    ResponseHeader(clusterID: simulation.founding.clusterID, memberID: node.id, raftTerm: Term(1))
  }

  private var openHub: WatchHub {
    if let hub { return hub }
    var limits = WatchLimits()
    limits.responseBytes = 2 << 10
    limits.recentBytesMax = 2 << 10
    let made = WatchHub(store: store, output: self, limits: limits, seed: seed)
    hub = made
    return made
  }

  func deliver(_ block: EventBlock) throws {
    hub?.deliver(block)
    work()
  }

  /// Events were left out: a snapshot holds what they led to.
  func loseTouch() {
    hub?.loseTouch()
    work()
  }

  /// Reads what watches that are behind need, a little later.
  private func work() {
    guard let hub, let scan = hub.nextWork() else { return }
    let outcome = store.run(scan, reader: reader)
    node.member?.later(UInt64(100 + simulation.random.below(5000)) * 1000) { member in
      member.watches.hub?.finish(outcome)
      member.watches.work()
    }
  }

  // MARK: Clients

  /// Opens a stream with one watch. Returns its name.
  func open(_ watcher: WatcherClient, _ request: Etcdserverpb.WatchCreateRequest) -> UInt64 {
    let token = simulation.takeToken()
    connections[token] = Connection(watcher: watcher, stream: nil)
    let stream = openHub.openStream(token)
    connections[token]?.stream = stream
    request.key.withUnsafeBytes { key in
      request.rangeEnd.withUnsafeBytes { end in
        var demand = WatchDemand(key: key, rangeEnd: end)
        demand.startRevision = request.startRevision
        demand.previousPair = request.prevKV
        demand.progressNotify = request.progressNotify
        openHub.create(demand, on: stream)
      }
    }
    work()
    return token
  }

  func requestProgress(_ token: UInt64) {
    guard let stream = connections[token]?.stream else { return }
    hub?.requestProgress(on: stream)
    work()
  }

  func notifyIdle() {
    hub?.notifyIdle()
  }

  func close(_ token: UInt64) {
    guard let connection = connections.removeValue(forKey: token) else { return }
    if let stream = connection.stream { hub?.closeStream(stream) }
  }

  /// The event loop ends with its member.
  func tearDown() {
    hub = nil
    connections.removeAll()
  }

  // MARK: WatchOutput

  func isWritable(_ stream: UInt64) -> Bool {
    connections[stream].map { $0.underWay < Self.underWayMax } ?? false
  }

  func notifyWhenWritable(_ stream: UInt64) {
    connections[stream]?.isAwaited = true
  }

  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, shared body: SharedBytes) {
    body.withUnsafeBytes { send(stream, head, $0) }
  }

  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer) {
    let bytes = [UInt8](head) + [UInt8](body)
    post(bytes, on: stream)
    if node.member?.broken == .watchRepeat, simulation.random.oneIn(8) { post(bytes, on: stream) }
  }

  private func post(_ bytes: [UInt8], on token: UInt64) {
    guard let connection = connections[token] else { return }
    let delay = UInt64(100 + simulation.random.below(connection.watcher.slownessMicroseconds))
    let arrival = max(simulation.now + delay * 1000, connection.arrival)
    connections[token]?.arrival = arrival
    connections[token]?.underWay += 1
    let watcher = connection.watcher
    simulation.queue.add(at: arrival) { [weak self] in
      try watcher.receive(bytes, token)
      try self?.arrived(token)
    }
  }

  private func arrived(_ token: UInt64) throws {
    guard node.member?.watches === self else { return }
    try node.member?.input { member in
      guard member.watches.connections[token] != nil else { return }
      member.watches.connections[token]?.underWay -= 1
      member.watches.becomeWritable(token)
    }
  }

  private func becomeWritable(_ token: UInt64) {
    guard let connection = connections[token], connection.isAwaited, isWritable(token),
      let stream = connection.stream
    else { return }
    connections[token]?.isAwaited = false
    hub?.becameWritable(stream)
    work()
  }
}

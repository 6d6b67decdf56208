package import Base
import Glibc
package import Logging
package import Membership
import NIOCore
import NIOPosix
package import Proto
package import RPC
package import Raft
import Synchronization
import TLS

/// What connects a member with its peers: a port where they come in, and connections to theirs.
///
/// Two streams lead to each peer, on connections of their own: one for messages with entries and
/// one for all else, so that no heartbeat or vote waits behind a long append. Whatever does not fit
/// into a peer's queue is dropped: Raft says it again.
///
/// Thread-safe. `start`, `listen`, `update`, `send`; then `stop`.
package final class PeerTransport: Sendable {
  package let configuration: PeerConfiguration
  let handlers: PeerHandlers
  let logger: Logger
  let tls: PeerTLS?
  private let group: MultiThreadedEventLoopGroup
  private let server: RPCServer
  private let services: Mutex<[PeerCallService]>
  private let state = Mutex(State())
  /// What `send` was given and the event loop has not taken yet.
  private let outbox = Mutex(Outbox())
  /// Of peers that are known: anybody may call himself a member of any number.
  private let lastHeards = Mutex<[MemberID: UInt64]>([:])
  /// The weight of what went to `PeerHandlers.received` and was not taken yet.
  private let receivedBytes = Atomic<Int>(0)
  /// What callers are refused for. Anybody may call, so silence must not last: there are a few lines in
  /// each minute.
  let complaints = Complaints(memoryNanoseconds: 60_000_000_000)
  package let counters = PeerCounters()

  private struct State {
    var nodes: [MemberID: PeerNode] = [:]
    /// Of the same peers, also while their addresses change.
    var traffic: [MemberID: PeerTraffic] = [:]
    var prober: Task<Void, Never>?
    var isStopped = false
    private var hasService = false

    /// True the first time.
    mutating func takeRegistration() -> Bool {
      defer { hasService = true }
      return !hasService
    }
  }

  private struct Outbox {
    var messages: [Raft.Message] = []
    /// Whether the loop was told to look.
    var isDue = false
  }

  /// One thread: what peers say to each other is little work, and the cores are others'.
  private static let threadCount = 1

  /// Nothing is bound or dialed yet. `httpHandler` answers what is not gRPC on the peer port.
  package init(
    _ configuration: PeerConfiguration,
    handlers: PeerHandlers,
    tls: PeerTLS? = nil,
    httpHandler: (any HTTPHandler)? = nil,
    logger: Logger
  ) {
    self.configuration = configuration
    self.handlers = handlers
    self.tls = tls
    self.logger = logger
    group = MultiThreadedEventLoopGroup(numberOfThreads: Self.threadCount)
    server = RPCServer(
      group: group,
      configuration: configuration.server,
      httpHandler: httpHandler
    ) { reason in
      logger.warning("peer connections are refused", metadata: ["reason": "\(reason)"])
    }
    services = Mutex([])
  }

  static var now: UInt64 { NIODeadline.now().uptimeNanoseconds }

  // MARK: Listening

  /// Binds the addresses. Returns what was bound, as `127.0.0.1:2380`. Throws `PeerListenError`.
  package func listen(on urls: [ServerURL]) async throws -> [String] {
    if state.withLock({ $0.takeRegistration() }) {
      try await server.start { [self] loop in
        let service = PeerCallService(transport: self, loop: loop)
        loop.register(PeerDispatcher(service))
        services.withLock { $0.append(service) }
      }
      let prober = Task { [weak self] in
        while (try? await Task.sleep(for: Self.probeInterval)) != nil { await self?.probe() }
      }
      state.withLock { $0.prober = prober }
    }
    var bound: [String] = []
    for (index, url) in urls.enumerated() {
      let sharing = urls.indices.filter { urls[$0].sharesAddress(with: url) }
      // http:// and https:// of one address are one socket.
      if let first = sharing.first, first < index { continue }
      let isSecure = sharing.contains { urls[$0].isSecure } || url.isSecure
      let isPlain = sharing.contains { !urls[$0].isSecure } || !url.isSecure
      do {
        bound.append(try await bind(url, isSecure: isSecure, isPlain: isPlain))
      } catch {
        throw PeerListenError(address: url.description, reason: "\(error)")
      }
    }
    return bound
  }

  private func bind(_ url: ServerURL, isSecure: Bool, isPlain: Bool) async throws -> String {
    var options = ListenerOptions()
    options.isSecure = isSecure && !isPlain
    options.reusesPort = configuration.reusesPort
    var setup: RPCServer.ChannelSetup?
    if isSecure {
      guard let tls else { throw MissingTLSError(url: url) }
      setup = { channel in
        try tls.server.install(on: channel, acceptsPlain: isPlain) {
          PeerIdentity(commonName: $0)
        }
      }
    }
    let bound = try await server.listen(on: RPCAddress(url), options: options, setup: setup)
    if url.isUnixSocket { return "unix:\(url.host)" }
    return RPCAddress.host(url.host, port: bound?.port ?? Int(url.port)).description
  }

  // MARK: Peers

  /// The members to talk to, this one excepted. Connections to others are closed; those to members
  /// whose URLs changed are made anew.
  package func update(peers: [PeerAddress]) {
    let eventLoop = group.next()
    var (fresh, gone): ([PeerNode], [PeerNode]) = ([], [])
    state.withLock { state in
      guard !state.isStopped else { return }
      var nodes: [MemberID: PeerNode] = [:]
      var traffic: [MemberID: PeerTraffic] = [:]
      for peer in peers where peer.id != configuration.memberID {
        let counts = state.traffic[peer.id] ?? PeerTraffic()
        traffic[peer.id] = counts
        if let known = state.nodes[peer.id], known.address == peer {
          nodes[peer.id] = known
        } else {
          let node = PeerNode(peer, traffic: counts, transport: self, eventLoop: eventLoop)
          nodes[peer.id] = node
          fresh.append(node)
        }
      }
      for node in state.nodes.values where nodes[node.address.id] !== node { gone.append(node) }
      state.nodes = nodes
      state.traffic = traffic
    }
    lastHeards.withLock { heards in
      let known = Set(peers.map(\.id))
      heards = heards.filter { known.contains($0.key) }
    }
    let services = services.withLock { $0 }
    for service in services { service.refuseRemoved() }
    guard !gone.isEmpty || !fresh.isEmpty else { return }
    eventLoop.execute { [gone, fresh] in
      for node in gone { node.closeLinks() }
      for node in fresh { node.connect() }
    }
    if !gone.isEmpty {
      Task { [gone] in for node in gone { await node.closeClients() } }
    }
  }

  func node(_ id: MemberID) -> PeerNode? { state.withLock { $0.nodes[id] } }

  /// The peer has come to us: it can be reached, so do not wait any longer to dial it. On an event
  /// loop.
  func cameIn(_ id: MemberID) {
    heard(from: id)
    guard let node = node(id) else { return }
    group.next().execute { node.connect(isUrgent: true) }
  }

  func heard(from id: MemberID) {
    guard node(id) != nil else { return }
    lastHeards.withLock { $0[id] = Self.now }
  }

  /// When the peer was last heard, in nanoseconds of CLOCK_MONOTONIC; nil when never. Any message
  /// and any answer counts.
  package func lastHeard(from id: MemberID) -> UInt64? {
    lastHeards.withLock { $0[id] }
  }

  /// Since when, in nanoseconds of CLOCK_MONOTONIC, the stream of heartbeats to the peer stands; nil
  /// while it does not.
  package func connectedSince(_ id: MemberID) -> UInt64? {
    node(id)?.connectedSince
  }

  // MARK: What is counted

  /// What went to and from each peer, ascending by ID.
  package var traffic: [(peer: MemberID, traffic: PeerTraffic)] {
    state.withLock { $0.traffic }.sorted { $0.key.rawValue < $1.key.rawValue }
      .map { (peer: $0.key, traffic: $0.value) }
  }

  /// Of one peer; nil of who is none.
  func traffic(with id: MemberID) -> PeerTraffic? { state.withLock { $0.traffic[id] } }

  /// How often the way to each peer is measured.
  private static let probeInterval = Duration.seconds(3)
  private static let probeTimeout = TimeAmount.seconds(3)

  /// Measures the way to each peer that is connected.
  private func probe() async {
    let nodes = state.withLock { Array($0.nodes.values) }
    await withTaskGroup(of: Void.self) { group in
      for node in nodes where node.connectedSince != nil {
        group.addTask { await node.probe(timeout: Self.probeTimeout) }
      }
    }
  }

  // MARK: Messages

  /// Sends what the replica's turn put out. Never blocks. Messages of kind `snapshot` go to
  /// `PeerHandlers.snapshotWanted` at once.
  package func send(_ messages: [Raft.Message]) {
    guard !messages.isEmpty else { return }
    let wasDue = outbox.withLock { outbox in
      for message in messages where message.kind != .snapshot { outbox.messages.append(message) }
      defer { outbox.isDue = true }
      return outbox.isDue
    }
    for message in messages where message.kind == .snapshot { handlers.snapshotWanted(message) }
    if !wasDue { group.next().execute { self.deliver() } }
  }

  private func deliver() {
    let messages = outbox.withLock { outbox in
      outbox.isDue = false
      defer { outbox.messages = [] }
      return outbox.messages
    }
    let nodes = state.withLock { $0.nodes }
    for message in messages { nodes[message.to]?.enqueue(message) }
    for node in nodes.values { node.pump() }
  }

  /// Hands on what a peer sent, unless too much waits already: then it is dropped, and Raft says it
  /// again.
  func received(_ messages: [Raft.Message], from id: MemberID) {
    heard(from: id)
    guard !messages.isEmpty else { return }
    var bytes = 0
    for message in messages { bytes += OutboundQueue.weight(of: message) }
    let waiting = receivedBytes.add(bytes, ordering: .relaxed).oldValue
    guard waiting == 0 || waiting + bytes <= configuration.receivedBytesMax else {
      receivedBytes.subtract(bytes, ordering: .relaxed)
      counters.receivedDropped.add(messages.count, ordering: .relaxed)
      traffic(with: id)?.receiveFailures.add(messages.count, ordering: .relaxed)
      return
    }
    handlers.received(messages, bytes)
  }

  /// The receiver of `PeerHandlers.received` is done with messages of that weight.
  package func took(bytes: Int) {
    receivedBytes.subtract(bytes, ordering: .relaxed)
  }

  // MARK: Questions

  /// Calls a peer: one request, one answer; the peer's addresses are tried in turn. Throws what the
  /// peer says, or `Unavailable` when it is unknown or cannot be reached.
  ///
  ///     try await peers.call(leader, timeout: .seconds(5)) { peer, options throws(RPCError) in
  ///       try await peer.leaseRenew(request, options: options)
  ///     }
  package func call<Response: Sendable>(
    _ id: MemberID,
    timeout: Duration,
    _ body: @Sendable (PeerClient, CallOptions) async throws(RPCError) -> Response
  ) async throws(RPCError) -> Response {
    guard let node = node(id) else {
      throw RPCError(.unavailable("no peer \(id) is known"), mayHaveBeenProcessed: false)
    }
    let response = try await node.call(timeout: TimeAmount(timeout), body)
    heard(from: id)
    return response
  }

  /// Asks whoever listens at an address for the state of its cluster: for a member that is not part
  /// of one yet.
  package static func clusterState(
    at url: ServerURL,
    tls: PeerTLS?,
    timeout: Duration
  ) async throws(RPCError) -> Martletpb.ClusterStateResponse {
    let rpc: RPCClientConfiguration
    do {
      rpc = try PeerConfiguration.client(for: url, tls: tls, connectTimeout: TimeAmount(timeout))
    } catch {
      throw RPCError(.unavailable(error.description), mayHaveBeenProcessed: false)
    }
    let client = RPCClient(
      address: RPCAddress(url),
      group: MultiThreadedEventLoopGroup.singleton,
      configuration: rpc
    )
    do throws(RPCError) {
      let options = CallOptions(timeout: TimeAmount(timeout))
      let response = try await PeerClient(client).clusterState(
        Martletpb.ClusterStateRequest(),
        options: options
      )
      await client.shutdown()
      return response
    } catch {
      await client.shutdown()
      throw error
    }
  }

  /// Stops to listen and closes all connections.
  package func stop() async {
    let nodes = state.withLock { state in
      state.isStopped = true
      state.prober?.cancel()
      state.prober = nil
      defer { state.nodes = [:] }
      return state.nodes
    }
    group.next().execute { for node in nodes.values { node.closeLinks() } }
    for node in nodes.values { await node.closeClients() }
    await server.drain(timeout: .zero)
    // What fails here is gone all the same.
    try? await group.shutdownGracefully()
  }
}

/// Why a peer address could not be bound.
package struct PeerListenError: Error, Sendable, CustomStringConvertible {
  package let address: String
  package let reason: String

  package var description: String { "cannot listen for peers on \(address): \(reason)" }
}

import Base
import Logging
import Membership
import NIOCore
import Proto
import RPC
import Raft
import Synchronization

/// One peer: its two streams, and a client for questions.
final class PeerNode: Sendable {
  let address: PeerAddress
  let traffic: PeerTraffic
  private let configuration: PeerConfiguration
  private let tls: PeerTLS?
  private let eventLoop: any EventLoop
  private let links: Mutex<[PeerLink]>
  private let shared = Mutex(Shared())

  private struct Shared {
    var connectedSince: UInt64?
    var clients: [Int: RPCClient] = [:]
    /// The address that answered last.
    var urlIndex = 0
    var isClosed = false
  }

  init(
    _ address: PeerAddress,
    traffic: PeerTraffic,
    transport: PeerTransport,
    eventLoop: any EventLoop
  ) {
    self.address = address
    self.traffic = traffic
    configuration = transport.configuration
    tls = transport.tls
    self.eventLoop = eventLoop
    links = Mutex([])
    let complaints = Complaints()
    let events = PeerLink.Events(
      opened: { [weak self, weak transport] lane in
        guard lane == .control else {
          transport?.handlers.connected(address.id)
          return
        }
        traffic.opened()
        self?.shared.withLock { $0.connectedSince = PeerTransport.now }
      },
      lost: { [weak self] lane in
        guard lane == .control else { return }
        traffic.closed()
        self?.shared.withLock { $0.connectedSince = nil }
      },
      dropped: { [weak transport] in transport?.handlers.unreachable(address.id) },
      heard: { [weak transport] in transport?.heard(from: address.id) },
      selfRemoved: { [weak transport] in transport?.handlers.selfRemoved(address.id) }
    )
    let made = [PeerLink.Lane.control, .entries].map { lane in
      PeerLink(
        lane,
        to: address,
        configuration: configuration,
        tls: tls,
        complaints: complaints,
        traffic: traffic,
        logger: transport.logger,
        eventLoop: eventLoop,
        events: events
      )
    }
    links.withLock { $0 = made }
  }

  var connectedSince: UInt64? { shared.withLock { $0.connectedSince } }

  private func eachLink(_ body: (PeerLink) -> Void) {
    for link in links.withLock({ $0 }) { body(link) }
  }

  // MARK: On the event loop

  /// Begins to connect. With `isUrgent` even if the last attempt failed just now.
  func connect(isUrgent: Bool = false) {
    eachLink { $0.connect(isUrgent: isUrgent) }
  }

  func enqueue(_ message: Raft.Message) {
    let lane = PeerLink.Lane(message)
    eachLink { if $0.lane == lane { $0.enqueue(message) } }
  }

  func pump() {
    eachLink { $0.pump() }
  }

  /// Ends both streams for good.
  func closeLinks() {
    traffic.closed()
    eachLink { $0.close() }
  }

  // MARK: Questions, from any thread

  /// Runs `body` with a client of each of the peer's addresses in turn, beginning with the one that
  /// answered last, until one can be reached.
  func call<Response: Sendable>(
    timeout: TimeAmount?,
    _ body: @Sendable (PeerClient, CallOptions) async throws(RPCError) -> Response
  ) async throws(RPCError) -> Response {
    let options = CallOptions(
      timeout: timeout,
      metadata: PeerMetadata(
        clusterID: configuration.clusterID,
        from: configuration.memberID,
        to: address.id,
        serverVersion: configuration.serverVersion
      ).fields
    )
    let first = shared.withLock { $0.urlIndex }
    var failure = RPCError(
      .unavailable("no address of the peer is known"),
      mayHaveBeenProcessed: false
    )
    for offset in address.urls.indices {
      let index = (first + offset) % address.urls.count
      do throws(RPCError) {
        let response = try await body(PeerClient(client(index)), options)
        shared.withLock { $0.urlIndex = index }
        return response
      } catch {
        guard error.code == .unavailable, !error.mayHaveBeenProcessed else { throw error }
        failure = error
      }
    }
    throw failure
  }

  /// Asks something short, and notes how long the answer took.
  func probe(timeout: TimeAmount) async {
    let start = PeerTransport.now
    do throws(RPCError) {
      _ = try await call(timeout: timeout) { peer, options throws(RPCError) in
        try await peer.clusterState(Martletpb.ClusterStateRequest(), options: options)
      }
    } catch {
      return
    }
    traffic.roundTrips.note(nanoseconds: PeerTransport.now - start)
  }

  private func client(_ index: Int) throws(RPCError) -> RPCClient {
    let url = address.urls[index]
    let rpc: RPCClientConfiguration
    do {
      rpc = try configuration.client(for: url, tls: tls)
    } catch {
      throw RPCError(.unavailable(error.description), mayHaveBeenProcessed: false)
    }
    let client = shared.withLock { shared -> RPCClient? in
      guard !shared.isClosed else { return nil }
      if let known = shared.clients[index] { return known }
      let client = RPCClient(address: RPCAddress(url), group: eventLoop, configuration: rpc)
      shared.clients[index] = client
      return client
    }
    guard let client else {
      throw RPCError(.unavailable("the peer was removed"), mayHaveBeenProcessed: false)
    }
    return client
  }

  /// Ends the questions under way.
  func closeClients() async {
    let clients = shared.withLock { shared in
      shared.isClosed = true
      defer { shared.clients = [:] }
      return shared.clients
    }
    for client in clients.values { await client.shutdown() }
  }
}

import NIOCore
import NIOPosix
import RPC
import Synchronization
import TLS

/// The endpoints of a client, and whose turn it is.
final class EndpointSet: Sendable {
  private let configuration: ClientConfiguration
  /// Made when the first encrypted endpoint is: reading the system's authorities takes long.
  private let tls = Mutex<ClientTLS?>(nil)
  private let group: any EventLoopGroup
  private let state: Mutex<State>

  private struct State {
    var endpoints: [Endpoint] = []
    /// Named no more, with calls under way.
    var retiring: [Endpoint] = []
    /// Whose turn it is, counted on without end.
    var turn: Int
    var isClosed = false
  }

  /// Throws `invalidArgument` for an endpoint or a file that cannot be used.
  init(_ configuration: ClientConfiguration) throws(ClientError) {
    self.configuration = configuration
    group = MultiThreadedEventLoopGroup.singleton
    // Clients begin at different members.
    state = Mutex(State(turn: Int.random(in: 0..<1 << 20)))
    if configuration.tls != nil { _ = try encryption() }
    try replace(configuration.endpoints)
  }

  private func encryption() throws(ClientError) -> ClientTLS {
    if let made = tls.withLock({ $0 }) { return made }
    do {
      let made = try ClientTLS((configuration.tls ?? .init()).settings)
      tls.withLock { $0 = made }
      return made
    } catch {
      throw .invalid("TLS: \(error)")
    }
  }

  /// Sets what the endpoints are. Those that stay keep their connections; calls to those that go
  /// end in peace. Throws `invalidArgument`, and changes nothing then.
  func replace(_ texts: [String]) throws(ClientError) {
    guard !texts.isEmpty else { throw .invalid("there must be an endpoint") }
    var addresses: [EndpointAddress] = []
    for text in texts {
      let address = try EndpointAddress(text, isSecure: configuration.tls != nil)
      if !addresses.contains(where: { $0.address == address.address }) {
        addresses.append(address)
      }
    }
    let tls = addresses.contains(where: \.isSecure) ? try encryption() : nil
    let retired = state.withLock { state -> [Endpoint] in
      guard !state.isClosed else { return [] }
      let old = state.endpoints
      state.endpoints = addresses.map { address in
        old.first { $0.address == address }
          ?? address.makeEndpoint(configuration, tls: tls, group: group)
      }
      let kept = state.endpoints
      let retired = old.filter { endpoint in !kept.contains { $0 === endpoint } }
      state.retiring += retired
      return retired
    }
    for endpoint in retired {
      endpoint.retire { [weak self] in self?.forget(endpoint) }
    }
  }

  private func forget(_ endpoint: Endpoint) {
    state.withLock { $0.retiring.removeAll { $0 === endpoint } }
  }

  var names: [String] { state.withLock { $0.endpoints.map(\.name) } }
  /// Those that calls go to, and those whose last calls are under way.
  var all: [Endpoint] { state.withLock { $0.endpoints + $0.retiring } }
  var count: Int { state.withLock { $0.endpoints.count } }
  var isClosed: Bool { state.withLock { $0.isClosed } }

  /// The endpoint for the next call: the next one in good standing, else the one whose failure is the
  /// longest ago. Throws `closed`.
  func next() throws(ClientError) -> Endpoint {
    let isSticky = configuration.balancing == .sticky
    let chosen = state.withLock { state -> Endpoint? in
      guard !state.isClosed else { return nil }
      let count = state.endpoints.count
      var best: (endpoint: Endpoint, until: ContinuousClock.Instant, turn: Int)?
      for offset in 0..<count {
        let turn = (state.turn &+ offset) & Int.max
        let endpoint = state.endpoints[turn % count]
        guard let until = endpoint.suspicion else {
          state.turn = isSticky ? turn : turn &+ 1
          return endpoint
        }
        if best.map({ until < $0.until }) ?? true { best = (endpoint, until, turn) }
      }
      if let best { state.turn = isSticky ? best.turn : best.turn &+ 1 }
      return best?.endpoint
    }
    guard let chosen else { throw .closed }
    return chosen
  }

  /// The endpoint called `name`. Throws `invalidArgument` when there is none, and `closed`.
  func named(_ name: String) throws(ClientError) -> Endpoint {
    let (endpoint, isClosed) = state.withLock { state in
      (state.endpoints.first { $0.name == name }, state.isClosed)
    }
    if isClosed { throw .closed }
    guard let endpoint else { throw .invalid("\"\(name)\" is none of the client's endpoints") }
    return endpoint
  }

  /// Ends all calls and closes all connections. Returns when nothing is left.
  func close() async {
    let endpoints = state.withLock { state in
      state.isClosed = true
      defer { (state.endpoints, state.retiring) = ([], []) }
      return state.endpoints + state.retiring
    }
    await withTaskGroup(of: Void.self) { group in
      for endpoint in endpoints { group.addTask { await endpoint.close() } }
    }
  }
}

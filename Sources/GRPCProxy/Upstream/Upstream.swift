import HTTP2
import Logging
import NIOCore
import RPC

/// A server of the cluster behind the proxy.
struct UpstreamEndpoint: Sendable {
  let address: RPCAddress
  /// The encryption of connections to it, and its `https`.
  let setup: RPCServer.ChannelSetup?
}

/// The servers, of which one is connected to: the next one when a connection cannot be made or is
/// lost. Confined to the event loop.
final class Upstream: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private enum State {
    case idle
    /// `failures` endpoints in a row have refused.
    case connecting([UpstreamCall], failures: Int)
    case ready(UpstreamLink)
    case closed
  }

  /// How often a call may begin that no server has taken.
  static let attemptsMax = 3

  let eventLoop: any EventLoop
  private let endpoints: [UpstreamEndpoint]
  private let configuration: RPCClientConfiguration
  private let logger: Logger
  /// The endpoint that is used, or tried next.
  private var place = 0
  private var state = State.idle
  /// The endpoints that could not be connected to when it was tried last: the log has that once.
  private var refusing: Set<Int> = []
  /// Called when all that one read brought has been handed over.
  var onTurnEnded: (() -> Void)?

  /// At least one endpoint.
  init(
    endpoints: [UpstreamEndpoint],
    configuration: RPCClientConfiguration,
    eventLoop: any EventLoop,
    logger: Logger
  ) {
    precondition(!endpoints.isEmpty, "a proxy of nothing")
    self.endpoints = endpoints
    self.configuration = configuration
    self.eventLoop = eventLoop
    self.logger = logger
  }

  /// The headers of a call. `metadata` goes with it as it is.
  func headers(
    _ path: String,
    metadata: [(name: String, value: String)],
    timeout: TimeAmount? = nil
  ) -> HeaderBlock {
    RequestHeaders.block(
      path: path,
      authority: endpoints[place].address.description,
      isSecure: endpoints[place].setup != nil,
      options: CallOptions(timeout: timeout, metadata: metadata)
    )
  }

  /// Begins a call on the connection, or as soon as there is one.
  func start(_ call: UpstreamCall) {
    switch state {
    case .ready(let link) where link.isAvailable:
      link.start(call)
    case .idle, .ready:
      state = .connecting([call], failures: 0)
      connect()
    case .connecting(let waiting, let failures):
      state = .connecting(waiting + [call], failures: failures)
    case .closed:
      call.finish(CallEnd(.unavailable("the proxy is stopping"), mayHaveBeenProcessed: false))
    }
  }

  private func connect() {
    let endpoint = endpoints[place]
    var configuration = configuration
    configuration.setup = endpoint.setup
    configuration.isSecure = endpoint.setup != nil
    let link = UpstreamLink(upstream: self)
    ClientLoopConnection.connect(
      to: endpoint.address,
      on: eventLoop,
      configuration: configuration,
      delegate: link
    ).hop(to: eventLoop).assumeIsolated().whenComplete { result in
      guard case .connecting(let waiting, let failures) = self.state else {
        if case .success(let connection) = result { connection.closeNow() }
        return
      }
      switch result {
      case .success(let connection):
        link.connection = connection
        self.refusing.remove(self.place)
        self.state = .ready(link)
        for call in waiting where call.sink != nil { link.start(call) }
      case .failure(let error):
        self.connectFailed(endpoint, error, waiting, failures + 1)
      }
    }
  }

  /// Tries the next endpoint, until each has had its turn.
  private func connectFailed(
    _ endpoint: UpstreamEndpoint,
    _ error: any Error,
    _ waiting: [UpstreamCall],
    _ failures: Int
  ) {
    if refusing.insert(place).inserted {
      logger.warning(
        "cannot connect to an endpoint",
        metadata: ["endpoint": "\(endpoint.address)", "error": "\(error)"]
      )
    }
    place = (place + 1) % endpoints.count
    guard failures < endpoints.count else {
      state = .idle
      let end = CallEnd(
        .unavailable("connecting to \(endpoint.address) failed: \(error)"),
        mayHaveBeenProcessed: false
      )
      for call in waiting { call.finish(end) }
      turnEnded()
      return
    }
    state = .connecting(waiting, failures: failures)
    connect()
  }

  var endpointCount: Int { endpoints.count }

  /// New calls go to the next endpoint; those that run end where they are.
  func moveOn() {
    guard case .ready(let link) = state else { return }
    state = .idle
    place = (place + 1) % endpoints.count
    link.connection?.shutdownGracefully()
  }

  /// The link is good for no new calls.
  func retire(_ link: UpstreamLink) {
    guard case .ready(let ready) = state, ready === link else { return }
    state = .idle
    place = (place + 1) % endpoints.count
  }

  func turnEnded() {
    onTurnEnded?()
  }

  /// Ends everything.
  func shutdown() {
    let old = state
    state = .closed
    switch old {
    case .connecting(let waiting, _):
      let end = CallEnd(.unavailable("the proxy is stopping"), mayHaveBeenProcessed: false)
      for call in waiting { call.finish(end) }
    case .ready(let link): link.connection?.closeNow()
    case .idle, .closed: break
    }
  }
}

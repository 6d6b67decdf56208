import Base
import HTTP2
import Logging
import Membership
import NIOCore
import Proto
import RPC
import Raft
import Synchronization

/// One stream of messages to one peer, made anew whenever it is lost. Confined to its event loop.
final class PeerLink: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  /// What a stream carries.
  enum Lane: String {
    /// Messages with entries, and what has to keep its order with them.
    case entries
    /// Heartbeats, votes and answers: never behind something long.
    case control

    init(_ message: Raft.Message) {
      switch message.kind {
      case .app: self = .entries
      case .propose: self = .entries
      default: self = .control
      }
    }
  }

  private enum State {
    case idle
    case connecting
    /// Connected; the peer's greeting is awaited.
    case greeting
    case open
    /// The next attempt is due at the end of this.
    case waiting(Scheduled<Void>)
    case closed
  }

  /// What a link tells its owner, on the loop.
  struct Events {
    var opened: (Lane) -> Void
    var lost: (Lane) -> Void
    /// A message for the peer could not be taken, or what was under way is lost.
    var dropped: () -> Void
    var heard: () -> Void
    var selfRemoved: () -> Void
  }

  let lane: Lane
  private let address: PeerAddress
  private let configuration: PeerConfiguration
  private let tls: PeerTLS?
  private let metadata: PeerMetadata
  private let complaints: Complaints
  private let traffic: PeerTraffic
  private let logger: Logger
  private let eventLoop: any EventLoop
  private let events: Events
  private var state = State.idle
  private var backOff: BackOff
  private var queue: OutboundQueue
  /// Which of the peer's addresses is tried.
  private var urlIndex = 0
  private var connection: LinkConnection?
  private var attempt = 0
  private var greetingTimer: Scheduled<Void>?

  /// What waits while there is no stream: enough for an election, and soon stale.
  private static let unconnectedMessagesMax = 64

  init(
    _ lane: Lane,
    to address: PeerAddress,
    configuration: PeerConfiguration,
    tls: PeerTLS?,
    complaints: Complaints,
    traffic: PeerTraffic,
    logger: Logger,
    eventLoop: any EventLoop,
    events: Events
  ) {
    self.lane = lane
    self.address = address
    self.configuration = configuration
    self.tls = tls
    self.complaints = complaints
    self.traffic = traffic
    self.logger = logger
    self.eventLoop = eventLoop
    self.events = events
    metadata = PeerMetadata(
      clusterID: configuration.clusterID,
      from: configuration.memberID,
      to: address.id,
      serverVersion: configuration.serverVersion
    )
    backOff = BackOff(min: configuration.reconnectDelayMin, max: configuration.reconnectDelayMax)
    queue = OutboundQueue(
      messagesMax: configuration.queuedMessagesMax,
      bytesMax: configuration.queuedBytesMax
    )
  }

  // MARK: Sending

  /// Takes a message; `pump` sends it.
  func enqueue(_ message: Raft.Message) {
    switch state {
    case .open:
      if !queue.append(message) { dropped(message) }
    case .idle, .connecting, .greeting:
      keepForLater(message)
    case .waiting where lane == .control || message.kind == .propose:
      keepForLater(message)
    case .waiting, .closed:
      dropped(message)
    }
  }

  private func keepForLater(_ message: Raft.Message) {
    // Proposals wait as long as they have room: nobody says them again, and whoever leads when they
    // arrive takes only those that are meant for his term.
    if message.kind != .propose, queue.count >= Self.unconnectedMessagesMax {
      loseQueue()
      if lane == .entries { events.dropped() }
    }
    if !queue.append(message) { dropped(message) }
  }

  /// Loses what Raft says again.
  private func loseQueue() {
    let count = queue.count
    queue.keepProposals()
    traffic.sendFailures.add(count - queue.count, ordering: .relaxed)
  }

  private func dropped(_ message: Raft.Message) {
    traffic.sendFailures.add(1, ordering: .relaxed)
    if message.kind == .app { events.dropped() }
  }

  /// Sends what waits, as far as the stream takes it.
  func pump() {
    guard case .open = state, let link = connection, let connection = link.connection,
      let call = link.call
    else { return }
    var didSend = false
    while !queue.isEmpty, connection.isWritable(call) {
      var encoder = RaftEncoder(queue.takeBatch(bytesMax: configuration.batchBytesMax))
      connection.beginMessage(call, length: encoder.length)
      traffic.sentBytes.add(encoder.length, ordering: .relaxed)
      var large: SharedBytes?
      repeat {
        connection.sendPart(call) { large = encoder.write(into: &$0) }
        if let large { connection.sendPart(call, large) }
      } while large != nil
      didSend = true
    }
    if didSend { connection.flush() }
  }

  // MARK: Connecting

  /// Begins to connect, unless it is done or under way. A link that waits does not wait any longer
  /// when `isUrgent`: the peer has just shown that it is there.
  func connect(isUrgent: Bool = false) {
    switch state {
    case .idle:
      break
    case .waiting(let timer) where isUrgent:
      timer.cancel()
      backOff.reset()
    case .waiting, .connecting, .greeting, .open, .closed:
      return
    }
    guard !address.urls.isEmpty else { return }
    let url = address.urls[urlIndex % address.urls.count]
    let rpc: RPCClientConfiguration
    do {
      rpc = try configuration.client(for: url, tls: tls)
    } catch {
      failed(url, "\(error)")
      return
    }
    state = .connecting
    attempt += 1
    let (attempt, link) = (attempt, LinkConnection(owner: self, url: url))
    ClientLoopConnection.connect(
      to: RPCAddress(url),
      on: eventLoop,
      configuration: rpc,
      delegate: link
    ).hop(to: eventLoop).assumeIsolated().whenComplete { result in
      switch result {
      case .success(let connection):
        link.hold(connection)
        self.connected(link, connection, attempt)
      case .failure(let error):
        guard attempt == self.attempt, case .connecting = self.state else { return }
        self.failed(url, Self.text(of: error))
      }
    }
  }

  private static func text(of error: any Error) -> String {
    // What NIO throws names every address that was tried, and where in its sources.
    guard let failure = error as? IOError else { return "\(error)" }
    return failure.description
  }

  private func connected(_ link: LinkConnection, _ connection: ClientLoopConnection, _ number: Int)
  {
    guard number == attempt, case .connecting = state else {
      connection.closeNow()
      return
    }
    let headers = RequestHeaders.block(
      path: Self.path,
      authority: link.url.isUnixSocket ? "localhost" : RPCAddress(link.url).description,
      isSecure: link.url.isSecure,
      options: CallOptions(metadata: metadata.fields)
    )
    guard let call = connection.start(headers: headers, token: 0) else {
      connection.closeNow()
      failed(link.url, "the connection takes no calls")
      return
    }
    link.call = call
    self.connection = link
    state = .greeting
    connection.flush()
    greetingTimer = eventLoop.scheduleTask(in: configuration.connectTimeout) {
      guard number == self.attempt, case .greeting = self.state else { return }
      self.failed(link.url, "it does not answer")
    }
  }

  private static let path = "/martletpb.Peer/RaftStream"

  /// The attempt or the stream at `url` is over; the next address is tried after a wait.
  private func failed(_ url: ServerURL, _ cause: String) {
    if case .closed = state { return }
    let wasOpen = if case .open = state { true } else { false }
    complain(url, cause)
    drop()
    urlIndex += 1
    let timer = eventLoop.scheduleTask(in: backOff.next()) {
      guard case .waiting = self.state else { return }
      self.state = .idle
      self.connect()
    }
    state = .waiting(timer)
    loseQueue()
    if wasOpen { events.lost(lane) }
    events.dropped()
  }

  private func complain(_ url: ServerURL, _ cause: String) {
    guard complaints.isNew("\(url) \(cause)") else { return }
    logger.warning(
      "no stream to a peer; trying on",
      metadata: ["peer": "\(address.id)", "url": "\(url)", "cause": "\(cause)"]
    )
  }

  private func drop() {
    greetingTimer?.cancel()
    greetingTimer = nil
    connection?.connection?.closeNow()
    connection = nil
  }

  /// Ends the link for good.
  func close() {
    if case .waiting(let timer) = state { timer.cancel() }
    state = .closed
    queue.removeAll()
    drop()
  }

  // MARK: What the connection says

  func received(_ message: UnsafeRawBufferPointer, on link: LinkConnection) {
    guard link === connection, case .greeting = state else { return }
    guard let greeting = try? Martletpb.PeerGreeting(decoding: message) else {
      failed(link.url, "its greeting cannot be read")
      return
    }
    if let complaint = metadata.complaint(about: greeting) {
      failed(link.url, complaint)
      return
    }
    greetingTimer?.cancel()
    greetingTimer = nil
    backOff.reset()
    state = .open
    events.heard()
    events.opened(lane)
    if complaints.forget() || lane == .control {
      logger.info(
        "a stream to a peer stands",
        metadata: [
          "peer": "\(address.id)", "url": "\(link.url)", "lane": "\(lane.rawValue)",
          "version": "\(greeting.serverVersion)",
        ]
      )
    }
    pump()
  }

  func ended(_ status: RPCStatus, on link: LinkConnection) {
    guard link === connection else { return }
    if status.code == .permissionDenied, status.message == PeerMetadata.removedText {
      events.selfRemoved()
    }
    failed(link.url, status.description)
  }

  func writable(on link: LinkConnection) {
    if link === connection { pump() }
  }

  func closed(_ link: LinkConnection) {
    guard link === connection else { return }
    connection = nil
    failed(link.url, "the connection is lost")
  }
}

/// One connection of a link.
final class LinkConnection: ClientCallDelegate, @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private weak var owner: PeerLink?
  let url: ServerURL
  private(set) var connection: ClientLoopConnection?
  var call: CallID?
  /// Itself until the connection is closed, which does not keep its delegate.
  private var kept: LinkConnection?

  init(owner: PeerLink, url: ServerURL) {
    self.owner = owner
    self.url = url
  }

  func hold(_ connection: ClientLoopConnection) {
    self.connection = connection
    kept = self
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    owner?.received(message, on: self)
  }

  func callEnded(_ token: Int, _ end: CallEnd) {
    owner?.ended(end.status, on: self)
  }

  func callWritable(_ token: Int) {
    owner?.writable(on: self)
  }

  func connectionClosed() {
    connection = nil
    owner?.closed(self)
    kept = nil
  }
}

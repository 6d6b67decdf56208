import HTTP2
import NIOCore

/// The connection of an `RPCClient`, made when first needed and made anew after it was lost.
/// Confined to its event loop.
final class ClientCore: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private enum State {
    case idle
    case connecting([(ClientCall, HeaderBlock)])
    case ready(ClientLink)
    case closed
  }

  let eventLoop: any EventLoop
  let configuration: RPCClientConfiguration
  private let target: ClientTarget
  private var state = State.idle
  /// All open connections: the ready one, and those that only finish their calls.
  private var links: [ObjectIdentifier: ClientLink] = [:]
  private var plainHeaders: [MethodPath: HeaderBlock] = [:]
  /// Of each method's latest call with options.
  private var latestHeaders: [MethodPath: (options: CallOptions, block: HeaderBlock)] = [:]
  private var closed: EventLoopPromise<Void>?

  init(target: ClientTarget, eventLoop: any EventLoop, configuration: RPCClientConfiguration) {
    self.target = target
    self.eventLoop = eventLoop
    self.configuration = configuration
  }

  /// Let go without `shutdown`: the calls that run may end, then their connections close.
  deinit {
    guard !links.isEmpty else { return }
    let orphans = Array(links.values)
    eventLoop.execute {
      for link in orphans { link.closeWhenIdle() }
    }
  }

  /// Begins a call on the ready connection, or as soon as there is one.
  func start(_ call: ClientCall, _ path: MethodPath, _ options: CallOptions) {
    call.startTimer()
    let headers = headers(path, options)
    switch state {
    case .ready(let link) where link.connection?.isAvailable == true:
      link.start(call, headers)
    case .idle, .ready:
      state = .connecting([(call, headers)])
      connect()
    case .connecting(var waiting):
      state = .idle
      waiting.append((call, headers))
      state = .connecting(waiting)
    case .closed:
      call.finish(CallEnd(.unavailable("the client is closed"), mayHaveBeenProcessed: false))
    }
  }

  private func headers(_ path: MethodPath, _ options: CallOptions) -> HeaderBlock {
    let isPlain =
      options.timeout == nil && options.metadata.isEmpty && !options.compressesRequests
    if isPlain, let block = plainHeaders[path] { return block }
    let sent = options.withCoarseTimeout
    if let latest = latestHeaders[path], latest.options.isSame(as: sent) { return latest.block }
    let block = RequestHeaders.block(
      path: path.path,
      authority: configuration.authority ?? target.defaultAuthority,
      isSecure: configuration.isSecure,
      options: sent
    )
    if isPlain { plainHeaders[path] = block } else { latestHeaders[path] = (sent, block) }
    return block
  }

  private func connect() {
    let link = ClientLink(core: self)
    ClientLoopConnection.connect(
      to: target,
      on: eventLoop,
      configuration: configuration,
      delegate: link
    ).hop(to: eventLoop).assumeIsolated().whenComplete { result in
      guard case .connecting(let waiting) = self.state else {
        if case .success(let connection) = result { connection.closeNow() }
        return
      }
      switch result {
      case .success(let connection):
        link.connection = connection
        self.links[ObjectIdentifier(link)] = link
        self.state = .ready(link)
        for (call, headers) in waiting { link.start(call, headers) }
      case .failure(let error):
        self.state = .idle
        let end = CallEnd(
          .unavailable("connecting to \(self.target) failed: \(ConnectionTrouble.text(of: error))"),
          mayHaveBeenProcessed: false
        )
        for (call, _) in waiting { call.finish(end) }
      }
    }
  }

  /// The link is good for no new calls.
  func retire(_ link: ClientLink, isClosed: Bool) {
    if case .ready(let ready) = state, ready === link { state = .idle }
    guard isClosed else { return }
    links[ObjectIdentifier(link)] = nil
    if links.isEmpty {
      closed?.succeed()
      closed = nil
    }
  }

  /// Ends everything. The future succeeds when the last connection is closed.
  func shutdown() -> EventLoopFuture<Void> {
    if case .connecting(let waiting) = state {
      let end = CallEnd(.unavailable("the client is closed"), mayHaveBeenProcessed: false)
      for (call, _) in waiting { call.finish(end) }
    }
    state = .closed
    guard !links.isEmpty else { return eventLoop.makeSucceededVoidFuture() }
    let promise = closed ?? eventLoop.makePromise(of: Void.self)
    closed = promise
    for link in links.values { link.connection?.closeNow() }
    return promise.futureResult
  }
}

/// One connection of a client and its calls.
final class ClientLink: ClientCallDelegate, @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private weak var core: ClientCore?
  var connection: ClientLoopConnection?
  private var calls: [Int: ClientCall] = [:]
  private var nextToken = 0
  /// Calls that the server's limit of streams holds back, in the order of their start.
  private var waiting: [(ClientCall, HeaderBlock)] = []
  private var isServing = false
  /// Nobody begins calls here any more.
  private var isOrphan = false

  init(core: ClientCore) {
    self.core = core
  }

  func start(_ call: ClientCall, _ headers: HeaderBlock) {
    waiting.append((call, headers))
    if waiting.count == 1 { serveWaiting() }
  }

  /// Begins as many of the waiting calls as the server allows.
  private func serveWaiting() {
    guard !isServing, let connection else { return }
    isServing = true
    defer { isServing = false }
    var served = 0
    while served < waiting.count {
      let (call, headers) = waiting[served]
      if call.end == nil {
        guard connection.isAvailable else { break }
        nextToken += 1
        guard call.attach(connection, headers, token: nextToken) else { break }
        calls[nextToken] = call
      }
      served += 1
    }
    waiting.removeFirst(served)
    if isOrphan, waiting.isEmpty { connection.shutdownGracefully() }
  }

  /// The client is gone: begins the calls that wait, and closes when the last has ended.
  func closeWhenIdle() {
    isOrphan = true
    serveWaiting()
  }

  /// The waiting calls will not begin here any more; the core may have another connection.
  private func failWaiting() {
    let calls = waiting
    waiting = []
    for (call, _) in calls {
      call.finish(CallEnd(.unavailable("connection lost"), mayHaveBeenProcessed: false))
    }
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    calls[token]?.received(message)
  }

  func callEnded(_ token: Int, _ end: CallEnd) {
    calls.removeValue(forKey: token)?.finish(end)
  }

  func callWritable(_ token: Int) {
    calls[token]?.becameWritable()
  }

  func turnEnded() {
    if !waiting.isEmpty { serveWaiting() }
    // Calls that were taken back get no `callEnded`.
    guard calls.count > 2 * (connection?.callCount ?? 0) + 64 else { return }
    calls = calls.filter { $0.value.end == nil }
  }

  func connectionDraining() {
    core?.retire(self, isClosed: false)
    failWaiting()
  }

  func connectionClosed() {
    connection = nil
    calls = [:]
    core?.retire(self, isClosed: true)
    failWaiting()
  }
}

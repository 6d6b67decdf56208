import NIOCore
import RPC
import Synchronization

/// One endpoint: its connection, and what is known of its health.
///
/// One that failed is left alone until it has answered a question of its own (`HealthProbe`), or a
/// call that had no other to go to.
final class Endpoint: Sendable {
  let address: EndpointAddress
  let client: RPCClient
  private let troubles: TroubleLog
  private let state = Mutex(State())
  private let watchStreams = Mutex<[SharedWatchStream]>([])

  private struct State {
    /// Calls and streams under way.
    var useCount = 0
    /// No new calls; closed when the last has ended. Told when that is.
    var onRetired: (@Sendable () -> Void)?
    /// No calls at all.
    var isClosed = false
    /// Failures since the last call that succeeded.
    var failureCount = 0
    /// Others are preferred; the one for which this time comes first is the next to be tried if there
    /// are no others.
    var suspectUntil: ContinuousClock.Instant?
    var probe: Task<Void, Never>?
  }

  /// How long an endpoint that failed is left alone, at first and at most.
  static let suspicionMin = Duration.milliseconds(100)
  static let suspicionMax = Duration.seconds(5)
  /// What `suspicionMin` is doubled to at most, as a number of failures.
  private static let failuresMax = 16

  init(address: EndpointAddress, client: RPCClient, troubles: TroubleLog) {
    self.address = address
    self.client = client
    self.troubles = troubles
  }

  /// What last broke a connection, told once.
  func takeTrouble() -> String? { troubles.take() }

  var name: String { address.text }

  /// When it comes to its turn among those that others are preferred to; nil when it is in good
  /// standing.
  var suspicion: ContinuousClock.Instant? { state.withLock { $0.suspectUntil } }

  /// A call succeeded.
  func succeeded() {
    let probe = state.withLock { state in
      state.failureCount = 0
      return Self.restore(&state)
    }
    probe?.cancel()
  }

  /// It answers questions; whether also calls, they will show.
  func answered() {
    _ = state.withLock { Self.restore(&$0) }
  }

  private static func restore(_ state: inout State) -> Task<Void, Never>? {
    state.suspectUntil = nil
    defer { state.probe = nil }
    return state.probe
  }

  /// Returns whether it was in good standing before.
  @discardableResult
  func failed(at now: ContinuousClock.Instant) -> Bool {
    state.withLock { state in
      // Many calls may have failed for one reason.
      if let until = state.suspectUntil, until > now { return false }
      let wasGood = state.suspectUntil == nil
      state.failureCount = min(state.failureCount + 1, Self.failuresMax)
      let pause = min(Self.suspicionMin * (1 << (state.failureCount - 1)), Self.suspicionMax)
      state.suspectUntil = now + pause
      if wasGood, !state.isClosed, state.onRetired == nil {
        state.probe = Task { [weak self, client] in
          await HealthProbe(client: client, firstPause: pause).run { self?.answered() }
        }
      }
      return wasGood
    }
  }

  // MARK: The end

  /// Lets the calls under way end, then closes, and calls `done`.
  func retire(_ done: @escaping @Sendable () -> Void) {
    let (isIdle, probe) = state.withLock { state in
      state.onRetired = done
      return (state.useCount == 0, Self.restore(&state))
    }
    probe?.cancel()
    if isIdle { closeSoon() }
  }

  private func closeSoon() {
    Task { await close() }
  }

  /// Ends all calls and closes the connection. Returns when nothing is left.
  func close() async {
    let probe = state.withLock { state in
      state.isClosed = true
      return Self.restore(&state)
    }
    probe?.cancel()
    await client.shutdown()
    await probe?.value
    for stream in watchStreams.withLock({ $0 }) { await stream.ended() }
    let done = state.withLock { state in
      defer { state.onRetired = nil }
      return state.onRetired
    }
    done?()
  }

  fileprivate func begin() {
    state.withLock { $0.useCount += 1 }
  }

  fileprivate func end() {
    let isOver = state.withLock { state in
      state.useCount -= 1
      return state.onRetired != nil && !state.isClosed && state.useCount == 0
    }
    if isOver { closeSoon() }
  }

  // MARK: Watches

  /// A place on a stream that was opened as the same user, or on a new one.
  func joinWatchStream(_ attempt: Caller.Attempt) -> SharedWatchLine {
    watchStreams.withLock { streams in
      for stream in streams where stream.token == attempt.token {
        if let line = stream.join() { return line }
      }
      let (stream, line) = SharedWatchStream.open(attempt)
      streams.append(stream)
      return line
    }
  }

  var watchStreamCount: Int { watchStreams.withLock { $0.count } }
  var watchStreamObjects: [AnyObject] { watchStreams.withLock { $0 } }

  /// The stream has ended.
  func forget(_ stream: SharedWatchStream) {
    watchStreams.withLock { $0.removeAll { $0 === stream } }
  }
}

/// What broke a connection, such as a certificate that does not verify.
final class TroubleLog: Sendable {
  private let latest = Mutex<String?>(nil)

  func take() -> String? {
    latest.withLock { latest in
      defer { latest = nil }
      return latest
    }
  }

  func note(_ text: String) {
    latest.withLock { $0 = text }
  }
}

/// Notes the errors of a connection's pipeline, and hands them on.
final class TroubleHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let log: TroubleLog

  init(_ log: TroubleLog) {
    self.log = log
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    log.note("\(error)")
    context.fireErrorCaught(error)
  }
}

/// Keeps an endpoint's connection open while it lives.
final class EndpointUse: Sendable {
  let endpoint: Endpoint

  init(_ endpoint: Endpoint) {
    self.endpoint = endpoint
    endpoint.begin()
  }

  deinit {
    endpoint.end()
  }
}

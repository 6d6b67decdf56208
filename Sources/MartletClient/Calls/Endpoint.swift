import NIOCore
import RPC
import Synchronization

/// One endpoint: its connection, and what is known of its health.
final class Endpoint: Sendable {
  let address: EndpointAddress
  let client: RPCClient
  private let troubles: TroubleLog
  private let state = Mutex(State())

  private struct State {
    /// Calls and streams under way.
    var useCount = 0
    /// No new calls; closed when the last has ended.
    var isRetired = false
    /// Failures since the last success.
    var failureCount = 0
    /// Until then others are preferred.
    var suspectUntil: ContinuousClock.Instant?
  }

  /// How long an endpoint that failed is left alone, at first and at most.
  static let suspicionMin = Duration.milliseconds(100)
  static let suspicionMax = Duration.seconds(5)

  init(address: EndpointAddress, client: RPCClient, troubles: TroubleLog) {
    self.address = address
    self.client = client
    self.troubles = troubles
  }

  /// What last broke a connection, told once.
  func takeTrouble() -> String? { troubles.take() }

  var name: String { address.text }

  /// Until when others are preferred; nil when it is in good standing.
  func suspicion(at now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
    state.withLock { state in state.suspectUntil.flatMap { $0 > now ? $0 : nil } }
  }

  func succeeded() {
    state.withLock {
      $0.failureCount = 0
      $0.suspectUntil = nil
    }
  }

  /// Returns whether it was in good standing before.
  @discardableResult
  func failed(at now: ContinuousClock.Instant) -> Bool {
    state.withLock { state in
      let wasGood = state.failureCount == 0
      state.failureCount = min(state.failureCount + 1, 16)
      let pause = Self.suspicionMin * (1 << (state.failureCount - 1))
      state.suspectUntil = now + min(pause, Self.suspicionMax)
      return wasGood
    }
  }

  /// Lets the calls under way end, then closes.
  func retire() {
    let isIdle = state.withLock { state in
      state.isRetired = true
      return state.useCount == 0
    }
    if isIdle { shutDownSoon() }
  }

  private func shutDownSoon() {
    let client = client
    Task { await client.shutdown() }
  }

  fileprivate func begin() {
    state.withLock { $0.useCount += 1 }
  }

  fileprivate func end() {
    let isOver = state.withLock { state in
      state.useCount -= 1
      return state.isRetired && state.useCount == 0
    }
    if isOver { shutDownSoon() }
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

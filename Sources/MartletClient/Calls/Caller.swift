import Logging
import NIOCore
import RPC

/// Makes calls: chooses endpoints, adds the token, goes by the deadline, and tries again where that
/// cannot do anything twice.
final class Caller: Sendable {
  let endpoints: EndpointSet
  let configuration: ClientConfiguration
  let telemetry: Telemetry
  let pauses = Pauses()
  private let tokens: TokenKeeper?
  private var logger: Logger { configuration.logger }

  /// How often one call asks for a new token.
  private static let tokenRenewalsMax = 2

  init(_ configuration: ClientConfiguration) throws(ClientError) {
    self.configuration = configuration
    endpoints = try EndpointSet(configuration)
    telemetry = Telemetry(configuration)
    tokens = configuration.credentials.map { TokenKeeper($0) }
  }

  /// One attempt of a call.
  struct Attempt {
    let endpoint: Endpoint
    let metadata: [(name: String, value: String)]
    /// What of the metadata says who calls; nil nobody.
    let token: String?
    /// How long this attempt may take.
    let timeout: Duration?

    var client: RPCClient { endpoint.client }

    var options: CallOptions {
      CallOptions(timeout: timeout?.timeAmount, metadata: metadata)
    }
  }

  /// Makes a call by `body`, as often as `effect` and the deadline allow.
  ///
  /// `deadline`: How long all attempts together may take; nil without end.
  /// `endpoint`: The one that is asked; nil any.
  func call<Response>(
    _ name: CallName,
    _ effect: Effect,
    deadline: Duration?,
    at endpoint: String? = nil,
    _ body: (Attempt) async throws(RPCError) -> Response
  ) async throws(ClientError) -> Response {
    guard let observation = telemetry.begin(name) else {
      return try await attempts(effect, deadline: deadline, at: endpoint, nil, body)
    }
    do throws(ClientError) {
      let response = try await attempts(effect, deadline: deadline, at: endpoint, observation, body)
      observation.end(nil)
      return response
    } catch {
      observation.end(error)
      throw error
    }
  }

  private func attempts<Response>(
    _ effect: Effect,
    deadline: Duration?,
    at name: String?,
    _ observation: CallObservation?,
    _ body: (Attempt) async throws(RPCError) -> Response
  ) async throws(ClientError) -> Response {
    let clock = ContinuousClock()
    let end = deadline.map { clock.now + $0 }
    var pace = Pace(configuration)
    var renewalCount = 0
    var reason: ClientError?
    while true {
      let endpoint: Endpoint
      if let name {
        endpoint = try endpoints.named(name)
      } else {
        endpoint = try endpoints.next()
      }
      let failure: ClientError
      var token: String?
      let use = EndpointUse(endpoint)
      defer { withExtendedLifetime(use) {} }
      do throws(RPCError) {
        let isAlone = name != nil || endpoints.count == 1
        token = try await self.token(
          at: endpoint,
          within: end.map { share(of: clock.now.duration(to: $0), mayTryOther: !isAlone) }
        )
        let mayTryOther = effect != .write && !isAlone
        let timeout = end.map { share(of: clock.now.duration(to: $0), mayTryOther: mayTryOther) }
        let attempt = Attempt(
          endpoint: endpoint,
          metadata: metadata(token) + (observation?.metadata ?? []),
          token: token,
          timeout: timeout
        )
        let response = try await body(attempt)
        endpoint.succeeded()
        return response
      } catch {
        failure = ClientError(error, effect, endpoint: endpoint)
      }
      if endpoints.isClosed { throw ClientError.closed.with(failure.outcome) }
      if Task.isCancelled { throw ClientError.canceled(failure.outcome) }
      if tokens != nil, Self.isTokenProblem(failure.code), renewalCount < Self.tokenRenewalsMax {
        renewalCount += 1
        tokens?.forget(token)
        observation?.retried(failure)
        logger.debug("asking for a new token", metadata: ["reason": "\(failure.message)"])
        continue
      }
      noteHealth(endpoint, failure)
      guard mayRepeat(failure, effect), end.map({ clock.now < $0 }) ?? true else {
        // What kept it so long says more than that its time is over.
        throw failure.code == .deadlineExceeded && failure.outcome == .notDone
          ? reason ?? failure : failure
      }
      if failure.code != .deadlineExceeded { reason = failure }
      observation?.retried(failure)
      if pace.isRoundOver(of: name == nil ? endpoints.count : 1) {
        try await pause(pace.nextPause(), until: end, after: reason ?? failure)
      }
    }
  }

  private func token(
    at endpoint: Endpoint,
    within timeout: Duration?
  ) async throws(RPCError) -> String? {
    guard let tokens else { return nil }
    do throws(RPCError) {
      return try await tokens.token(at: endpoint, within: timeout)
    } catch {
      // The request itself has not been sent.
      throw RPCError(error.status, mayHaveBeenProcessed: false, metadata: error.metadata)
    }
  }

  private func metadata(_ token: String?) -> [(name: String, value: String)] {
    token.map { [(name: "token", value: $0)] } ?? []
  }

  /// What one attempt may take of the time that is left: where another endpoint could still answer,
  /// half of it.
  private func share(of rest: Duration, mayTryOther: Bool) -> Duration {
    max(mayTryOther ? rest / 2 : rest, .milliseconds(1))
  }

  private static func isTokenProblem(_ code: ClientError.Code) -> Bool {
    switch code {
    // `userNameEmpty`: authentication was switched on since.
    case .invalidAuthToken, .authRevisionIsOld, .userNameEmpty: true
    default: false
    }
  }

  func mayRepeat(_ failure: ClientError, _ effect: Effect) -> Bool {
    switch failure.code {
    case .unavailable, .noLeader, .tooManyRequests, .notSupportedByLearner:
      effect != .write || failure.outcome == .notDone
    // The server's own texts, and an attempt that used up its share of the time.
    case .leaderChanged, .stopped, .timeout, .timeoutAfterLeaderFailure,
      .timeoutAfterConnectionLoss, .timeoutWaitingForApply, .deadlineExceeded, .canceled:
      effect != .write
    default: false
    }
  }

  /// Remembers what the failure says of the endpoint.
  func noteHealth(_ endpoint: Endpoint, _ failure: ClientError) {
    switch failure.code {
    case .unavailable, .noLeader, .stopped, .timeout, .timeoutAfterLeaderFailure,
      .timeoutAfterConnectionLoss, .deadlineExceeded, .notSupportedByLearner, .corrupt:
      guard endpoint.failed(at: ContinuousClock().now) else { return }
      telemetry.count(.endpointFailures)
      logger.info(
        "an endpoint fails",
        metadata: ["endpoint": "\(endpoint.name)", "reason": "\(failure.message)"]
      )
    default:
      // It answers.
      endpoint.succeeded()
    }
  }

  /// Waits. Throws `failure` when the deadline comes first, and `canceled`.
  private func pause(
    _ duration: Duration,
    until end: ContinuousClock.Instant?,
    after failure: ClientError
  ) async throws(ClientError) {
    let clock = ContinuousClock()
    if let end, clock.now + duration >= end { throw failure }
    do {
      try await clock.sleep(for: duration)
    } catch {
      throw .canceled(failure.outcome)
    }
  }
}

/// When the next attempt of a call begins.
struct Pace {
  private let pauseMax: Duration
  private var nextMax: Duration
  private var attemptCount = 0

  init(_ configuration: ClientConfiguration) {
    nextMax = configuration.backoffMin
    pauseMax = max(configuration.backoffMax, configuration.backoffMin)
  }

  /// Counts an attempt; true when each of `count` endpoints has had one since the last pause.
  mutating func isRoundOver(of count: Int) -> Bool {
    attemptCount += 1
    guard attemptCount >= count else { return false }
    attemptCount = 0
    return true
  }

  /// The length of a pause, from a half to the whole of what it doubles to.
  mutating func nextPause() -> Duration {
    let pause = nextMax * Double.random(in: 0.5...1)
    nextMax = min(nextMax * 2, pauseMax)
    return pause
  }
}

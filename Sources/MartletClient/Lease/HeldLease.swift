import Logging
import Synchronization

/// A lease that is renewed while the closure of `Client.withLease` runs.
public final class HeldLease: Sendable {
  public let id: LeaseID
  /// How long it lives without renewal.
  public let ttl: Duration
  private let leases: Leases
  private let state: Mutex<State>

  private struct State {
    /// The server holds the lease at least until then, by our clock.
    var end: ContinuousClock.Instant
    var isLost = false
  }

  private init(_ grant: Leases.Grant, _ leases: Leases, since start: ContinuousClock.Instant) {
    id = grant.id
    ttl = grant.ttl
    self.leases = leases
    state = Mutex(State(end: start + grant.ttl))
  }

  static func grant(_ leases: Leases, ttl: Duration) async throws(ClientError) -> HeldLease {
    let start = ContinuousClock().now
    return HeldLease(try await leases.grant(ttl: ttl), leases, since: start)
  }

  /// Whether the lease has run out or was revoked, or may have, for want of answers. Once true it
  /// stays so, and the closure's task is cancelled.
  public var isLost: Bool {
    let now = ContinuousClock().now
    return state.withLock { $0.isLost || $0.end <= now }
  }

  /// How long the lease lives at least, if no renewal succeeds any more; zero when it is lost.
  public var timeLeft: Duration {
    let now = ContinuousClock().now
    return state.withLock { $0.isLost ? .zero : max(.zero, now.duration(to: $0.end)) }
  }

  /// The part of the time to live after which a lease is renewed.
  static let renewalsPerTTL = 3

  /// Renews the lease until it is lost, or the task is cancelled.
  func keepAlive() async {
    let clock = ContinuousClock()
    while !isLost {
      let pause = min(ttl / Self.renewalsPerTTL, timeLeft)
      guard await leases.scope.caller.pauses.pause(for: pause) else {
        if Task.isCancelled { return }
        // The client is closed: nobody renews the lease any more.
        break
      }
      let start = clock.now
      do throws(ClientError) {
        let left = timeLeft
        guard left > .zero else { break }
        let renewed = try await leases.withDeadline(left).keepAlive(id)
        state.withLock { state in
          if !state.isLost { state.end = max(state.end, start + renewed) }
        }
      } catch {
        if Task.isCancelled { return }
        log("a lease is not renewed", error)
        if error.code == .leaseNotFound || error.code == .closed { break }
      }
    }
    state.withLock { $0.isLost = true }
    leases.scope.caller.telemetry.count(.leasesLost)
  }

  /// Gives the lease back, also from a task that is cancelled. Failing that it runs out.
  func release() async {
    let (leases, id, wasLost) = (leases, id, isLost)
    let task = Task { () -> ClientError? in
      do throws(ClientError) {
        try await leases.withDeadline(Self.releaseTimeout).revoke(id)
        return nil
      } catch {
        return error.code == .leaseNotFound || error.code == .closed ? nil : error
      }
    }
    if let error = await task.value, !wasLost { log("a lease is not revoked", error) }
  }

  /// How long giving back is tried.
  static let releaseTimeout = Duration.seconds(2)

  private func log(_ text: Logger.Message, _ error: ClientError) {
    leases.scope.caller.configuration.logger.notice(
      text,
      metadata: ["lease": "\(id)", "reason": "\(error)"]
    )
  }

  /// Runs `body` and renews the lease meanwhile; then gives it back.
  func run<Value: Sendable>(
    _ body: @escaping @Sendable (HeldLease) async throws -> Value
  ) async throws -> Value {
    let result: Result<Value, any Error> = await withTaskGroup(
      of: Result<Value, any Error>?.self
    ) { group in
      group.addTask {
        do { return .success(try await body(self)) } catch { return .failure(error) }
      }
      group.addTask {
        await self.keepAlive()
        return nil
      }
      var result: Result<Value, any Error>?
      for await ended in group {
        if let ended { result = ended }
        // Either the body is done, or the lease is lost.
        group.cancelAll()
      }
      guard let result else { preconditionFailure("the closure of withLease has not ended") }
      return result
    }
    await release()
    switch result {
    case .success(let value): return value
    case .failure(let error):
      if isLost, !Task.isCancelled, Self.isCancellation(error) { throw lost }
      throw error
    }
  }

  private static func isCancellation(_ error: any Error) -> Bool {
    if error is CancellationError { return true }
    return (error as? ClientError)?.code == .canceled
  }

  private var lost: ClientError {
    ClientError(.leaseLost, "lease \(id) ran out or was revoked", outcome: .unknown)
  }
}

extension CallScope {
  func withLease<Value: Sendable>(
    ttl: Duration,
    _ body: @escaping @Sendable (HeldLease) async throws -> Value
  ) async throws -> Value {
    try await HeldLease.grant(Leases(scope: self), ttl: ttl).run(body)
  }
}

extension Client {
  /// Leases, one call at a time.
  public var leases: Leases { Leases(scope: scope) }

  /// Makes a lease, renews it as long as `body` runs, and then revokes it, with the keys that are
  /// bound to it.
  ///
  ///     try await client.withLease(ttl: .seconds(10)) { lease in
  ///       try await client.kv.put("workers/7", address, lease: lease.id)
  ///       try await work()
  ///     }
  ///
  /// When the lease is lost (revoked by others, or not renewed in time because no member answers),
  /// the task of `body` is cancelled and `lease.isLost` becomes true. If `body` then throws for its
  /// cancellation, this throws `leaseLost`; what it returns in spite of it is returned.
  ///
  /// `ttl`: How long the lease outlives this program at most, in whole seconds.
  @discardableResult
  public func withLease<Value: Sendable>(
    ttl: Duration,
    _ body: @escaping @Sendable (HeldLease) async throws -> Value
  ) async throws -> Value {
    try await scope.withLease(ttl: ttl, body)
  }
}

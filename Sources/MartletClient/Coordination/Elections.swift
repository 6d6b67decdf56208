import Proto
import RPC

/// Elections: of all who campaign under a name, one at a time leads.
public struct Elections: Sendable {
  var scope: CallScope

  /// A won election.
  public struct Leadership: Hashable, Sendable {
    public let name: [UInt8]
    /// The key that shows the leader's value, and the fencing token.
    public let key: HeldKey
    public let lease: LeaseID

    /// See `HeldKey.guarded`.
    public func guarded(_ transaction: Transaction) -> Transaction {
      key.guarded(transaction)
    }

    init(_ wire: V3electionpb.LeaderKey, _ scope: CallScope) {
      name = scope.stripped(wire.name)
      key = HeldKey(key: scope.stripped(wire.key), fencingToken: wire.rev)
      lease = LeaseID(rawValue: wire.lease)
    }

    func wire(_ scope: CallScope) -> V3electionpb.LeaderKey {
      V3electionpb.LeaderKey(
        name: scope.key(name),
        key: scope.key(key.key),
        rev: key.fencingToken,
        lease: lease.rawValue
      )
    }
  }

  /// Waits until this candidate leads, and shows `value` to those who observe. It leads until it
  /// resigns or the lease ends. Waits as long as it takes: cancel the task to give up.
  public func campaign(
    _ name: some BytesConvertible,
    value: some BytesConvertible,
    lease: LeaseID
  ) async throws(ClientError) -> Leadership {
    var waiting = scope
    waiting.deadline = nil
    let request = V3electionpb.CampaignRequest(
      name: scope.key(name),
      lease: lease.rawValue,
      value: value.bytes
    )
    let response = try await waiting.call("Election/Campaign", .repeatable) {
      attempt async throws(RPCError) in
      try await ElectionClient(attempt.client).campaign(request, options: attempt.options)
    }
    guard let leader = response.leader else { throw .malformed("the answer names no leader") }
    return Leadership(leader, scope)
  }

  /// Shows another value. Throws code `other` with the text of the server when this candidate does
  /// not lead any more.
  public func proclaim(
    _ value: some BytesConvertible,
    as leadership: Leadership
  ) async throws(ClientError) {
    let request = V3electionpb.ProclaimRequest(
      leader: leadership.wire(scope),
      value: value.bytes
    )
    _ = try await scope.call("Election/Proclaim", .write) { attempt async throws(RPCError) in
      try await ElectionClient(attempt.client).proclaim(request, options: attempt.options)
    }
  }

  /// Gives the leadership up.
  public func resign(_ leadership: Leadership) async throws(ClientError) {
    let request = V3electionpb.ResignRequest(leader: leadership.wire(scope))
    _ = try await scope.call("Election/Resign", .repeatable) { attempt async throws(RPCError) in
      try await ElectionClient(attempt.client).resign(request, options: attempt.options)
    }
  }

  /// The leader's key and value. Throws code `other` with the text of the server when there is none.
  public func leader(of name: some BytesConvertible) async throws(ClientError) -> KeyValue {
    let request = V3electionpb.LeaderRequest(name: scope.key(name))
    let response = try await scope.call("Election/Leader", .read) {
      attempt async throws(RPCError) in
      try await ElectionClient(attempt.client).leader(request, options: attempt.options)
    }
    guard let keyValue = response.kv else { throw .malformed("the answer names no leader") }
    return KeyValue(keyValue, scope)
  }

  /// The present leader, once there is one, and from then on every new leader and value. Goes on at
  /// another member when a connection breaks; values that were replaced meanwhile are left out.
  public func observe(_ name: some BytesConvertible) -> Observation {
    Observation(scope: scope, name: name.bytes)
  }

  /// See `Elections.observe`.
  public struct Observation: AsyncSequence, Sendable {
    public typealias Element = KeyValue
    public typealias Failure = ClientError

    let scope: CallScope
    let name: [UInt8]

    public func makeAsyncIterator() -> AsyncIterator {
      AsyncIterator(scope: scope, name: name)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
      private let scope: CallScope
      private let name: [UInt8]
      private var stream: OpenStream<V3electionpb.LeaderResponse>?
      private var latest: KeyValue?
      private var pace: Pace

      init(scope: CallScope, name: [UInt8]) {
        self.scope = scope
        self.name = name
        pace = Pace(scope.caller.configuration)
      }

      public mutating func next() async throws -> KeyValue? {
        try await next(isolation: nil)
      }

      public mutating func next(
        isolation actor: isolated (any Actor)?
      ) async throws(ClientError) -> KeyValue? {
        while true {
          do throws(ClientError) {
            let stream: OpenStream<V3electionpb.LeaderResponse>
            if let open = self.stream {
              stream = open
            } else {
              stream = try await Self.open(scope, name)
              self.stream = stream
            }
            guard let response = try await stream.next() else {
              throw ClientError(.unavailable, "the stream ended", outcome: .notDone)
            }
            guard let leader = response.kv.map({ KeyValue($0, scope) }) else { continue }
            pace = Pace(scope.caller.configuration)
            guard leader != latest else { continue }
            latest = leader
            return leader
          } catch {
            stream = nil
            guard !Task.isCancelled, scope.caller.mayRepeat(error, .read) else { throw error }
            guard (try? await Task.sleep(for: pace.nextPause())) != nil else {
              throw .canceled()
            }
          }
        }
      }

      private static func open(
        _ scope: CallScope,
        _ name: [UInt8]
      ) async throws(ClientError) -> OpenStream<V3electionpb.LeaderResponse> {
        let request = V3electionpb.LeaderRequest(name: scope.key(name))
        // There may be no leader for long: no first message is waited for.
        return try await scope.call("Election/Observe", .read) { attempt async throws(RPCError) in
          let stream = try await ElectionClient(attempt.client).observe(
            request,
            options: attempt.streamOptions
          )
          return OpenStream(stream, EndpointUse(attempt.endpoint), scope.caller)
        }
      }
    }
  }
}

/// A won election, while the closure of `Client.withLeadership` runs.
public struct HeldLeadership: Sendable {
  public let leadership: Elections.Leadership
  public let lease: HeldLease
  private let elections: Elections

  init(leadership: Elections.Leadership, lease: HeldLease, elections: Elections) {
    self.leadership = leadership
    self.lease = lease
    self.elections = elections
  }

  /// See `HeldKey.fencingToken`.
  public var fencingToken: Int64 { leadership.key.fencingToken }
  /// See `HeldLease.isLost`.
  public var isLost: Bool { lease.isLost }

  /// See `HeldKey.guarded`.
  public func guarded(_ transaction: Transaction) -> Transaction {
    leadership.guarded(transaction)
  }

  /// Shows another value to those who observe.
  public func proclaim(_ value: some BytesConvertible) async throws(ClientError) {
    try await elections.proclaim(value, as: leadership)
  }
}

extension CallScope {
  func withLeadership<Value: Sendable>(
    _ name: [UInt8],
    value: [UInt8],
    ttl: Duration,
    _ body: @escaping @Sendable (HeldLeadership) async throws -> Value
  ) async throws -> Value {
    let elections = Elections(scope: self)
    return try await withLease(ttl: ttl) { lease in
      let leadership = try await elections.campaign(name, value: value, lease: lease.id)
      return try await body(
        HeldLeadership(leadership: leadership, lease: lease, elections: elections)
      )
    }
  }
}

extension Client {
  /// Elections, one call at a time.
  public var elections: Elections { Elections(scope: scope) }

  /// Waits until this candidate leads, runs `body` while it does, and resigns. The leadership hangs
  /// on a lease; when that is lost, `body` is cancelled, as `Client.withLease` says.
  ///
  /// `value`: What those who observe see.
  /// `ttl`: How long others wait when this program dies.
  @discardableResult
  public func withLeadership<Value: Sendable>(
    of name: some BytesConvertible,
    value: some BytesConvertible,
    ttl: Duration = .seconds(30),
    _ body: @escaping @Sendable (HeldLeadership) async throws -> Value
  ) async throws -> Value {
    try await scope.withLeadership(name.bytes, value: value.bytes, ttl: ttl, body)
  }
}

import Proto
import RPC

/// Leases: keys that are bound to one go away when nobody renews it. `Client.withLease` renews one as
/// long as a closure runs.
public struct Leases: Sendable {
  var scope: CallScope

  /// The same with another time for each call; see `ClientConfiguration.deadline`.
  public func withDeadline(_ deadline: Duration?) -> Leases {
    var copy = self
    copy.scope.deadline = deadline
    return copy
  }

  /// A lease as the server granted it.
  public struct Grant: Hashable, Sendable {
    public var header: ResponseHeader
    public var id: LeaseID
    /// How long it lives without renewal; servers raise a short one.
    public var ttl: Duration
  }

  /// A lease at some moment.
  public struct Status: Hashable, Sendable {
    public var header: ResponseHeader
    public var id: LeaseID
    /// What is left of its life.
    public var timeLeft: Duration
    /// How long it lives without renewal.
    public var ttl: Duration
    /// The keys bound to it, when they were asked for.
    public var keys: [[UInt8]]
  }

  /// Makes a lease.
  ///
  /// `ttl`: How long it lives without renewal, in whole seconds, rounded up.
  /// `id`: `.none` lets the server choose. Throws `leaseExists` when it is taken.
  public func grant(ttl: Duration, id: LeaseID = .none) async throws(ClientError) -> Grant {
    let request = Etcdserverpb.LeaseGrantRequest(ttl: ttl.wholeSeconds, id: id.rawValue)
    let response = try await scope.call("Lease/LeaseGrant", .write) {
      attempt async throws(RPCError) in
      try await LeaseClient(attempt.client).leaseGrant(request, options: attempt.options)
    }
    return Grant(
      header: ResponseHeader(response.header),
      id: LeaseID(rawValue: response.id),
      ttl: .seconds(response.ttl)
    )
  }

  /// Ends a lease: its keys are deleted. Throws `leaseNotFound`.
  public func revoke(_ id: LeaseID) async throws(ClientError) {
    let request = Etcdserverpb.LeaseRevokeRequest(id: id.rawValue)
    _ = try await scope.call("Lease/LeaseRevoke", .write) { attempt async throws(RPCError) in
      try await LeaseClient(attempt.client).leaseRevoke(request, options: attempt.options)
    }
  }

  /// Renews a lease once. Returns how long it lives from now on; throws `leaseNotFound`.
  @discardableResult
  public func keepAlive(_ id: LeaseID) async throws(ClientError) -> Duration {
    let request = Etcdserverpb.LeaseKeepAliveRequest(id: id.rawValue)
    let response = try await scope.call("Lease/LeaseKeepAlive", .repeatable) {
      attempt async throws(RPCError) in
      let call = try await LeaseClient(attempt.client).leaseKeepAlive(options: attempt.options)
      await call.send(request)
      call.finishSending()
      return try await call.response()
    }
    guard response.ttl > 0 else {
      throw ClientError(
        .leaseNotFound,
        "etcdserver: requested lease not found",
        outcome: .refused
      )
    }
    return .seconds(response.ttl)
  }

  /// How long a lease still lives; throws `leaseNotFound`.
  public func status(
    of id: LeaseID,
    includesKeys: Bool = false
  ) async throws(ClientError) -> Status {
    let request = Etcdserverpb.LeaseTimeToLiveRequest(id: id.rawValue, keys: includesKeys)
    let response = try await scope.call("Lease/LeaseTimeToLive", .read) {
      attempt async throws(RPCError) in
      try await LeaseClient(attempt.client).leaseTimeToLive(request, options: attempt.options)
    }
    guard response.ttl >= 0 else {
      throw ClientError(
        .leaseNotFound,
        "etcdserver: requested lease not found",
        outcome: .refused
      )
    }
    return Status(
      header: ResponseHeader(response.header),
      id: id,
      timeLeft: .seconds(response.ttl),
      ttl: .seconds(response.grantedTTL),
      keys: response.keys.map { scope.stripped($0) }
    )
  }

  /// All leases.
  public func list() async throws(ClientError) -> [LeaseID] {
    let response = try await scope.call("Lease/LeaseLeases", .read) {
      attempt async throws(RPCError) in
      let request = Etcdserverpb.LeaseLeasesRequest()
      return try await LeaseClient(attempt.client).leaseLeases(request, options: attempt.options)
    }
    return response.leases.map { LeaseID(rawValue: $0.id) }
  }
}

extension Duration {
  /// Rounded up, at least 1.
  var wholeSeconds: Int64 {
    let (seconds, attoseconds) = components
    return max(1, attoseconds > 0 && seconds < .max ? seconds + 1 : seconds)
  }
}

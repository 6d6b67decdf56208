import Proto
import RPC

/// Locks that the members keep, one holder at a time, in the order of asking. `Client.withLock` is
/// the safe way to hold one.
public struct Locks: Sendable {
  var scope: CallScope

  /// Waits for the lock `name` and takes it for as long as `lease` lives. Asking again with the same
  /// lease gives the same lock. Waits as long as it takes: cancel the task to give up.
  public func lock(
    _ name: some BytesConvertible,
    lease: LeaseID
  ) async throws(ClientError) -> HeldKey {
    var waiting = scope
    waiting.deadline = nil
    let request = V3lockpb.LockRequest(name: scope.key(name), lease: lease.rawValue)
    while true {
      // Repeating it does no harm: the key is made of the name and the lease.
      let response = try await waiting.call("Lock/Lock", .repeatable) {
        attempt async throws(RPCError) in
        try await LockClient(attempt.client).lock(request, options: attempt.options)
      }
      // Old servers say yes also when the lease ran out in the meantime; and only the key itself
      // has the number that orders the holders.
      let key = scope.stripped(response.key)
      let held = try await KV(scope: scope).get(key)
      if let held, held.lease == lease {
        return HeldKey(key: key, fencingToken: held.createRevision)
      }
      _ = try await Leases(scope: scope).status(of: lease)
    }
  }

  /// Gives a lock back.
  public func unlock(_ lock: HeldKey) async throws(ClientError) {
    let request = V3lockpb.UnlockRequest(key: scope.key(lock.key))
    _ = try await scope.call("Lock/Unlock", .write) { attempt async throws(RPCError) in
      try await LockClient(attempt.client).unlock(request, options: attempt.options)
    }
  }
}

/// The key that stands for a lock that is held, or an election that is won.
public struct HeldKey: Hashable, Sendable {
  public let key: [UInt8]
  /// The revision at which the key was made. Later holders have larger ones: a resource that
  /// remembers the largest it has seen can turn away a holder whose time is over.
  public let fencingToken: Int64

  /// That the key is still held, for a transaction in the same view of the store.
  public var isHeld: Condition {
    .createRevision(of: .key(key), .equal, fencingToken)
  }

  /// `transaction` with the condition that the key is still held: a holder who was paused past the
  /// end of its lease changes nothing by it. Its `else` is carried out then.
  public func guarded(_ transaction: Transaction) -> Transaction {
    transaction.if(isHeld)
  }
}

/// A lock, while the closure of `Client.withLock` runs.
public struct HeldLock: Sendable {
  public let key: HeldKey
  public let lease: HeldLease

  /// See `HeldKey.fencingToken`.
  public var fencingToken: Int64 { key.fencingToken }
  /// See `HeldLease.isLost`. False does not promise anything for the next moment: `guarded` does.
  public var isLost: Bool { lease.isLost }

  /// See `HeldKey.guarded`.
  public func guarded(_ transaction: Transaction) -> Transaction {
    key.guarded(transaction)
  }
}

extension CallScope {
  func withLock<Value: Sendable>(
    _ name: [UInt8],
    ttl: Duration,
    _ body: @escaping @Sendable (HeldLock) async throws -> Value
  ) async throws -> Value {
    try await withLease(ttl: ttl) { lease in
      let key = try await Locks(scope: self).lock(name, lease: lease.id)
      return try await body(HeldLock(key: key, lease: lease))
    }
  }
}

extension Client {
  /// Locks, one call at a time.
  public var locks: Locks { Locks(scope: scope) }

  /// Waits for the lock `name`, runs `body` while it is held, and gives it back.
  ///
  ///     try await client.withLock("jobs/nightly") { lock in
  ///       let result = try await client.kv.commit(lock.guarded(Transaction().then(.put("x", "1"))))
  ///       // result.succeeded is false when the lock was lost.
  ///     }
  ///
  /// The lock hangs on a lease: when that is lost, the task of `body` is cancelled, as
  /// `Client.withLease` says, and others may hold the lock. Only writes that are `guarded` cannot
  /// collide then.
  ///
  /// `ttl`: How long the lock stays taken when this program dies.
  @discardableResult
  public func withLock<Value: Sendable>(
    _ name: some BytesConvertible,
    ttl: Duration = .seconds(30),
    _ body: @escaping @Sendable (HeldLock) async throws -> Value
  ) async throws -> Value {
    try await scope.withLock(name.bytes, ttl: ttl, body)
  }
}

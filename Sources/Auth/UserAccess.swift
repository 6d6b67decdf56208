package import Base
package import Proto

/// What one user may do, at one auth revision.
///
/// The checks look at every key that a request can touch whatever it finds: both branches of a txn,
/// nested ones included, compares as reads, and the keys on a lease that a put attaches to.
package struct UserAccess: Sendable {
  /// May do everything.
  package let isRoot: Bool
  package let roles: [AuthName]
  private let reading: KeyRanges
  private let writing: KeyRanges

  /// Calls its second argument with each key on a lease until that returns false, and says whether
  /// it never did. A lease that there is not has no keys.
  package typealias LeaseKeys = (LeaseID, (UnsafeRawBufferPointer) -> Bool) -> Bool

  init(_ user: AuthUser, in state: AuthState) {
    isRoot = user.isRoot
    roles = user.roles
    let permissions = isRoot ? [] : user.roles.flatMap { state.role($0)?.permissions ?? [] }
    reading = KeyRanges(permissions.filter(\.kind.allowsReading))
    writing = KeyRanges(permissions.filter(\.kind.allowsWriting))
  }

  /// Whether every key of a range may be read. `rangeEnd` as requests have it, see
  /// `KeyRanges.cover`.
  package func permitsReading(
    _ key: UnsafeRawBufferPointer,
    _ rangeEnd: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) -> Bool {
    isRoot || reading.cover(key, rangeEnd)
  }

  /// Whether every key of a range may be written.
  package func permitsWriting(
    _ key: UnsafeRawBufferPointer,
    _ rangeEnd: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) -> Bool {
    isRoot || writing.cover(key, rangeEnd)
  }

  /// Whether every key on a lease may be written: to revoke it deletes them, and to put another on
  /// it ties their lives together.
  package func permitsWriting(keysOf lease: LeaseID, _ leaseKeys: LeaseKeys) -> Bool {
    isRoot || leaseKeys(lease) { permitsWriting($0) }
  }

  package func permits(_ request: Etcdserverpb.RangeRequest.View) -> Bool {
    permitsReading(request.key, request.rangeEnd)
  }

  package func permits(_ request: Etcdserverpb.PutRequest.View, _ leaseKeys: LeaseKeys) -> Bool {
    guard permitsWriting(request.key) else { return false }
    if request.prevKV && !permitsReading(request.key) { return false }
    return request.lease == 0 || permitsWriting(keysOf: LeaseID(request.lease), leaseKeys)
  }

  package func permits(_ request: Etcdserverpb.DeleteRangeRequest.View) -> Bool {
    guard permitsWriting(request.key, request.rangeEnd) else { return false }
    return !request.prevKV || permitsReading(request.key, request.rangeEnd)
  }

  package func permits(_ request: Etcdserverpb.TxnRequest.View, _ leaseKeys: LeaseKeys) -> Bool {
    if isRoot { return true }
    return request.compare.allSatisfy { permitsReading($0.key, $0.rangeEnd) }
      && permits(request.success, leaseKeys) && permits(request.failure, leaseKeys)
  }

  private func permits(
    _ operations: RepeatedView<Etcdserverpb.RequestOp.View>,
    _ leaseKeys: LeaseKeys
  ) -> Bool {
    operations.allSatisfy { operation in
      switch operation.request {
      case .requestRange(let range): permits(range)
      case .requestPut(let put): permits(put, leaseKeys)
      case .requestDeleteRange(let delete): permits(delete)
      case .requestTxn(let nested): permits(nested, leaseKeys)
      // Refused for what it is, by whoever looks at it next.
      case nil: true
      }
    }
  }
}

import Proto
import RPC

/// Keys and values.
///
/// Every call throws `ClientError`.
public struct KV: Sendable {
  var scope: CallScope

  /// The same with another time for each call; see `ClientConfiguration.deadline`.
  public func withDeadline(_ deadline: Duration?) -> KV {
    var copy = self
    copy.scope.deadline = deadline
    return copy
  }

  /// The key; nil when there is none.
  public func get(
    _ key: some BytesConvertible,
    _ options: RangeOptions = RangeOptions()
  ) async throws(ClientError) -> KeyValue? {
    try await range(.key(key), options).keyValues.first
  }

  /// The keys of a range, all in one answer; `pages` and `stream` are for large ones.
  public func range(
    _ range: KeyRange,
    _ options: RangeOptions = RangeOptions()
  ) async throws(ClientError) -> RangeResult {
    let request = options.request(range, scope)
    let response = try await scope.call("KV/Range", .read) { attempt async throws(RPCError) in
      try await KVClient(attempt.client).range(request, options: attempt.options)
    }
    return RangeResult(response, scope)
  }

  /// How many keys a range has.
  public func count(
    _ range: KeyRange,
    _ options: RangeOptions = RangeOptions()
  ) async throws(ClientError) -> Int64 {
    let request = options.request(range, scope, countOnly: true)
    return try await scope.call("KV/Range", .read) { attempt async throws(RPCError) in
      try await KVClient(attempt.client).range(request, options: attempt.options)
    }.count
  }

  /// Sets a key, and binds it to `lease` alone; throws `leaseNotFound` when there is no such lease.
  @discardableResult
  public func put(
    _ key: some BytesConvertible,
    _ value: some BytesConvertible,
    lease: LeaseID = .none,
    returnsPrevious: Bool = false
  ) async throws(ClientError) -> PutResult {
    try await put(
      Operation.Put(
        key: key.bytes,
        value: value.bytes,
        lease: lease,
        returnsPrevious: returnsPrevious
      )
    )
  }

  /// Sets the value of a key that exists, and leaves its lease; throws `keyNotFound`.
  @discardableResult
  public func update(
    _ key: some BytesConvertible,
    _ value: some BytesConvertible,
    returnsPrevious: Bool = false
  ) async throws(ClientError) -> PutResult {
    try await put(
      Operation.Put(
        key: key.bytes,
        value: value.bytes,
        lease: nil,
        returnsPrevious: returnsPrevious
      )
    )
  }

  /// Binds a key that exists to another lease, and leaves its value; throws `keyNotFound`.
  @discardableResult
  public func bind(
    _ key: some BytesConvertible,
    to lease: LeaseID
  ) async throws(ClientError) -> PutResult {
    try await put(
      Operation.Put(key: key.bytes, value: nil, lease: lease, returnsPrevious: false)
    )
  }

  private func put(_ put: Operation.Put) async throws(ClientError) -> PutResult {
    let request = put.request(scope)
    let response = try await scope.call("KV/Put", .write) { attempt async throws(RPCError) in
      try await KVClient(attempt.client).put(request, options: attempt.options)
    }
    return PutResult(response, scope)
  }

  /// Deletes a key, if it exists.
  @discardableResult
  public func delete(
    _ key: some BytesConvertible,
    returnsPrevious: Bool = false
  ) async throws(ClientError) -> DeleteResult {
    try await delete(.key(key), returnsPrevious: returnsPrevious)
  }

  /// Deletes all keys of a range.
  @discardableResult
  public func delete(
    _ range: KeyRange,
    returnsPrevious: Bool = false
  ) async throws(ClientError) -> DeleteResult {
    let request = Operation.deletion(range, returnsPrevious, scope)
    let response = try await scope.call("KV/DeleteRange", .write) {
      attempt async throws(RPCError) in
      try await KVClient(attempt.client).deleteRange(request, options: attempt.options)
    }
    return DeleteResult(response, scope)
  }

  /// Carries out a transaction.
  @discardableResult
  public func commit(
    _ transaction: Transaction
  ) async throws(ClientError) -> TransactionResult {
    let request = transaction.wire(scope)
    let effect: Effect = transaction.isReadOnly ? .read : .write
    let response = try await scope.call("KV/Txn", effect) { attempt async throws(RPCError) in
      try await KVClient(attempt.client).txn(request, options: attempt.options)
    }
    return TransactionResult(response, scope)
  }

  /// Forgets the history before `revision`: reads and watches there throw `compacted` from now on.
  /// Throws `compacted` when that was so already, and `futureRevision`.
  ///
  /// `waitsUntilDone`: Returns only when the space has been taken back on the member that
  ///   answers.
  @discardableResult
  public func compact(
    to revision: Int64,
    waitsUntilDone: Bool = false
  ) async throws(ClientError) -> ResponseHeader {
    let request = Etcdserverpb.CompactionRequest(revision: revision, physical: waitsUntilDone)
    let response = try await scope.call("KV/Compact", .write) { attempt async throws(RPCError) in
      try await KVClient(attempt.client).compact(request, options: attempt.options)
    }
    return ResponseHeader(response.header)
  }
}

import Synchronization

/// What concurrent transactions of `Client.transact` may do to each other.
public enum Isolation: Sendable, Hashable {
  /// As if they had happened one after the other: a transaction is run again when anything that it
  /// read has changed.
  case serializable
  /// Each reads one state of the store, and of two that write the same key one is run again. What
  /// was only read may have changed: two may each write what the other has read.
  case snapshot
}

/// The store as a closure of `Client.transact` sees it: every read from one revision, with its own
/// writes on top, which are kept back until the end. Reads hold no lock.
public final class StoreTransaction: Sendable {
  private let kv: KV
  private let state = Mutex(State())

  private struct State {
    /// The revision of all reads; 0 before the first.
    var revision: Int64 = 0
    /// The revision of the last change of what was read; 0 for keys that are missing.
    var reads: [[UInt8]: (modRevision: Int64, value: [UInt8]?)] = [:]
    /// nil deletes.
    var writes: [[UInt8]: [UInt8]?] = [:]
    var leases: [[UInt8]: LeaseID] = [:]
  }

  init(_ kv: KV) {
    self.kv = kv
  }

  /// The value of a key; nil when there is none.
  public func get(_ key: some BytesConvertible) async throws(ClientError) -> [UInt8]? {
    let key = key.bytes
    let (known, revision) = state.withLock { state -> ([UInt8]??, Int64) in
      if let write = state.writes[key] { return (.some(write), state.revision) }
      return (state.reads[key].map { $0.value }, state.revision)
    }
    if let known { return known }
    let result = try await kv.range(.key(key), RangeOptions(revision: revision))
    let keyValue = result.keyValues.first
    let isStale = state.withLock { state -> Bool in
      if state.revision == 0 { state.revision = result.header.revision }
      // Another first read was quicker, and fixed another revision.
      if revision == 0, state.revision != result.header.revision { return true }
      state.reads[key] = (keyValue?.modRevision ?? 0, keyValue?.value)
      return false
    }
    return isStale ? try await get(key) : keyValue?.value
  }

  /// The value of a key as text; nil when there is none.
  public func text(_ key: some BytesConvertible) async throws(ClientError) -> String? {
    try await get(key)?.text
  }

  /// Sets a key when the transaction ends well.
  public func put(
    _ key: some BytesConvertible,
    _ value: some BytesConvertible,
    lease: LeaseID = .none
  ) {
    state.withLock {
      $0.writes[key.bytes] = .some(value.bytes)
      $0.leases[key.bytes] = lease
    }
  }

  /// Deletes a key when the transaction ends well.
  public func delete(_ key: some BytesConvertible) {
    state.withLock { $0.writes[key.bytes] = .some(nil) }
  }

  /// What must hold, and what is done then; nil when nothing was written.
  func commitment(_ isolation: Isolation) -> Transaction? {
    state.withLock { state in
      guard !state.writes.isEmpty else { return nil }
      var conditions: [Condition] = []
      switch isolation {
      case .serializable:
        for (key, read) in state.reads {
          conditions.append(.modRevision(of: .key(key), .equal, read.modRevision))
        }
      case .snapshot:
        guard state.revision > 0 else { break }
        for key in state.writes.keys {
          // A key that is missing has revision 0. One that was read and is missing now was deleted
          // since, which is a change too.
          if let read = state.reads[key] {
            conditions.append(.modRevision(of: .key(key), .equal, read.modRevision))
          } else {
            conditions.append(.modRevision(of: .key(key), .less, state.revision + 1))
          }
        }
      }
      let operations = state.writes.map { key, value in
        value.map { Operation.put(key, $0, lease: state.leases[key] ?? .none) } ?? .delete(key)
      }
      return Transaction().if(conditions).then(operations)
    }
  }
}

extension CallScope {
  func transact<Value: Sendable>(
    _ isolation: Isolation,
    attemptsMax: Int,
    _ body: @Sendable (StoreTransaction) async throws -> Value
  ) async throws -> Value {
    precondition(attemptsMax > 0, "attemptsMax is \(attemptsMax)")
    let kv = KV(scope: self)
    var pace = Pace(caller.configuration)
    for attempt in 1...attemptsMax {
      if attempt > 1 { try await Task.sleep(for: pace.nextPause()) }
      let transaction = StoreTransaction(kv)
      do {
        let value = try await body(transaction)
        guard let commitment = transaction.commitment(isolation) else { return value }
        if try await kv.commit(commitment).succeeded { return value }
      } catch let error as ClientError where error.code == .compacted {
        // The revision of its reads is gone: others have written.
      }
    }
    throw ClientError(
      .conflict,
      "others' writes came in between \(attemptsMax) times",
      outcome: .notDone
    )
  }
}

extension Client {
  /// Runs `body` on one state of the store, and applies what it writes at once if nobody came in
  /// between; otherwise runs it again on a newer state. `body` must have no other effects.
  ///
  ///     try await client.transact { store in
  ///       let balance = Int(try await store.text("balance") ?? "0") ?? 0
  ///       store.put("balance", "\(balance + 10)")
  ///     }
  ///
  /// Throws what `body` throws, `ClientError` of the calls (an `unknown` outcome of the last step is
  /// not repeated), and `conflict` after `attemptsMax` attempts.
  @discardableResult
  public func transact<Value: Sendable>(
    isolation: Isolation = .serializable,
    attemptsMax: Int = 100,
    _ body: @Sendable (StoreTransaction) async throws -> Value
  ) async throws -> Value {
    try await scope.transact(isolation, attemptsMax: attemptsMax, body)
  }
}

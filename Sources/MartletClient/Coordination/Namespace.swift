/// The part of the store whose keys begin with a prefix, as a store of its own: the prefix is put
/// before every key, range and name, and taken off the answers.
///
///     let app = client.namespace("app/")
///     try await app.kv.put("a", "1")   // the key "app/a"
public struct Namespace: Sendable {
  private let client: Client
  private let scope: CallScope

  init(_ client: Client, _ scope: CallScope) {
    self.client = client
    self.scope = scope
  }

  public var prefix: [UInt8] { scope.prefix }

  /// As `Client.kv`.
  public var kv: KV { KV(scope: scope) }
  /// As `Client.leases`. Leases themselves have no namespace, keys in their status have.
  public var leases: Leases { Leases(scope: scope) }
  /// As `Client.locks`.
  public var locks: Locks { Locks(scope: scope) }
  /// As `Client.elections`.
  public var elections: Elections { Elections(scope: scope) }

  /// A namespace within this one.
  public func namespace(_ prefix: some BytesConvertible) -> Namespace {
    var inner = scope
    inner.prefix += prefix.bytes
    return Namespace(client, inner)
  }

  /// As `Client.watch`.
  public func watch(
    _ range: KeyRange,
    _ options: WatchOptions = WatchOptions()
  ) async throws(ClientError) -> Watch {
    try await scope.watch(range, options)
  }

  /// As `Client.watch`.
  public func watch(
    _ key: some BytesConvertible,
    _ options: WatchOptions = WatchOptions()
  ) async throws(ClientError) -> Watch {
    try await scope.watch(.key(key), options)
  }

  /// As `Client.withLock`.
  @discardableResult
  public func withLock<Value: Sendable>(
    _ name: some BytesConvertible,
    ttl: Duration = .seconds(30),
    _ body: @escaping @Sendable (HeldLock) async throws -> Value
  ) async throws -> Value {
    try await scope.withLock(name.bytes, ttl: ttl, body)
  }

  /// As `Client.withLeadership`.
  @discardableResult
  public func withLeadership<Value: Sendable>(
    of name: some BytesConvertible,
    value: some BytesConvertible,
    ttl: Duration = .seconds(30),
    _ body: @escaping @Sendable (HeldLeadership) async throws -> Value
  ) async throws -> Value {
    try await scope.withLeadership(name.bytes, value: value.bytes, ttl: ttl, body)
  }

  /// As `Client.transact`.
  @discardableResult
  public func transact<Value: Sendable>(
    isolation: Isolation = .serializable,
    attemptsMax: Int = 100,
    _ body: @Sendable (StoreTransaction) async throws -> Value
  ) async throws -> Value {
    try await scope.transact(isolation, attemptsMax: attemptsMax, body)
  }
}

extension Client {
  /// The keys that begin with `prefix`, as a store of its own.
  public func namespace(_ prefix: some BytesConvertible) -> Namespace {
    var inner = scope
    inner.prefix = prefix.bytes
    return Namespace(self, inner)
  }
}

import Proto

/// Several operations that happen at once, or others, as conditions have it.
///
///     let transfer = Transaction()
///       .if(.value(of: "owner", .equal, "alice"))
///       .then(.put("owner", "bob"), .delete("offer"))
///       .else(.get("owner"))
///     let result = try await client.kv.commit(transfer)
///
/// Within one transaction no key may be put twice (`duplicateKey`).
public struct Transaction: Hashable, Sendable {
  var conditions: [Condition] = []
  var success: [Operation] = []
  var failure: [Operation] = []

  /// A transaction without conditions, which hold, and without operations.
  public init() {}

  /// Adds conditions: all must hold for `then`.
  public func `if`(_ conditions: Condition...) -> Transaction { self.if(conditions) }

  public func `if`(_ conditions: [Condition]) -> Transaction {
    var copy = self
    copy.conditions += conditions
    return copy
  }

  /// Adds operations for when all conditions hold.
  public func then(_ operations: Operation...) -> Transaction { then(operations) }

  public func then(_ operations: [Operation]) -> Transaction {
    var copy = self
    copy.success += operations
    return copy
  }

  /// Adds operations for when a condition does not hold.
  public func `else`(_ operations: Operation...) -> Transaction { self.else(operations) }

  public func `else`(_ operations: [Operation]) -> Transaction {
    var copy = self
    copy.failure += operations
    return copy
  }

  /// Whether it changes nothing, whichever way it goes.
  var isReadOnly: Bool {
    (success + failure).allSatisfy { operation in
      switch operation.kind {
      case .range: true
      case .put, .delete: false
      case .transaction(let inner): inner.isReadOnly
      }
    }
  }
}

/// Something that is true of a key, or of every key of a range. A key that does not exist has
/// version, revisions and lease 0, and no value: a condition on its value does not hold.
public struct Condition: Hashable, Sendable {
  enum Subject: Hashable, Sendable {
    case version(Int64)
    case createRevision(Int64)
    case modRevision(Int64)
    case value([UInt8])
    case lease(LeaseID)
  }

  let range: KeyRange
  let relation: Relation
  let subject: Subject

  /// How what the key has relates to what is given.
  public enum Relation: Hashable, Sendable {
    case equal, notEqual, less, greater
  }

  public static func exists(_ key: some BytesConvertible) -> Condition {
    createRevision(of: .key(key), .greater, 0)
  }

  public static func isMissing(_ key: some BytesConvertible) -> Condition {
    createRevision(of: .key(key), .equal, 0)
  }

  public static func value(
    of key: some BytesConvertible,
    _ relation: Relation,
    _ value: some BytesConvertible
  ) -> Condition {
    Self.value(of: .key(key), relation, value)
  }

  public static func value(
    of range: KeyRange,
    _ relation: Relation,
    _ value: some BytesConvertible
  ) -> Condition {
    Condition(range: range, relation: relation, subject: .value(value.bytes))
  }

  public static func version(
    of key: some BytesConvertible,
    _ relation: Relation,
    _ version: Int64
  ) -> Condition {
    Self.version(of: .key(key), relation, version)
  }

  public static func version(
    of range: KeyRange,
    _ relation: Relation,
    _ version: Int64
  ) -> Condition {
    Condition(range: range, relation: relation, subject: .version(version))
  }

  public static func createRevision(
    of key: some BytesConvertible,
    _ relation: Relation,
    _ revision: Int64
  ) -> Condition {
    Self.createRevision(of: .key(key), relation, revision)
  }

  public static func createRevision(
    of range: KeyRange,
    _ relation: Relation,
    _ revision: Int64
  ) -> Condition {
    Condition(range: range, relation: relation, subject: .createRevision(revision))
  }

  public static func modRevision(
    of key: some BytesConvertible,
    _ relation: Relation,
    _ revision: Int64
  ) -> Condition {
    Self.modRevision(of: .key(key), relation, revision)
  }

  public static func modRevision(
    of range: KeyRange,
    _ relation: Relation,
    _ revision: Int64
  ) -> Condition {
    Condition(range: range, relation: relation, subject: .modRevision(revision))
  }

  public static func lease(
    of key: some BytesConvertible,
    _ relation: Relation,
    _ lease: LeaseID
  ) -> Condition {
    Self.lease(of: .key(key), relation, lease)
  }

  public static func lease(
    of range: KeyRange,
    _ relation: Relation,
    _ lease: LeaseID
  ) -> Condition {
    Condition(range: range, relation: relation, subject: .lease(lease))
  }
}

/// One step of a transaction.
public struct Operation: Hashable, Sendable {
  indirect enum Kind: Hashable, Sendable {
    case range(KeyRange, RangeOptions, countOnly: Bool)
    case put(Put)
    case delete(KeyRange, returnsPrevious: Bool)
    case transaction(Transaction)
  }

  struct Put: Hashable, Sendable {
    var key: [UInt8]
    /// nil: as it is.
    var value: [UInt8]?
    /// nil: as it is.
    var lease: LeaseID?
    var returnsPrevious: Bool
  }

  let kind: Kind

  /// As `KV.get`.
  public static func get(_ key: some BytesConvertible) -> Operation {
    range(.key(key))
  }

  /// As `KV.range`.
  public static func range(
    _ range: KeyRange,
    _ options: RangeOptions = RangeOptions()
  ) -> Operation {
    Operation(kind: .range(range, options, countOnly: false))
  }

  /// As `KV.count`; the answer is the result's `count`.
  public static func count(_ range: KeyRange) -> Operation {
    Operation(kind: .range(range, RangeOptions(), countOnly: true))
  }

  /// As `KV.put`.
  public static func put(
    _ key: some BytesConvertible,
    _ value: some BytesConvertible,
    lease: LeaseID = .none,
    returnsPrevious: Bool = false
  ) -> Operation {
    Operation(
      kind: .put(
        Put(key: key.bytes, value: value.bytes, lease: lease, returnsPrevious: returnsPrevious)
      )
    )
  }

  /// As `KV.delete`.
  public static func delete(
    _ key: some BytesConvertible,
    returnsPrevious: Bool = false
  ) -> Operation {
    delete(.key(key), returnsPrevious: returnsPrevious)
  }

  /// As `KV.delete`.
  public static func delete(_ range: KeyRange, returnsPrevious: Bool = false) -> Operation {
    Operation(kind: .delete(range, returnsPrevious: returnsPrevious))
  }

  /// A transaction within the transaction.
  public static func transaction(_ transaction: Transaction) -> Operation {
    Operation(kind: .transaction(transaction))
  }
}

/// What came of a transaction.
public struct TransactionResult: Hashable, Sendable {
  public var header: ResponseHeader
  /// Whether all conditions held, so that `then` was carried out.
  public var succeeded: Bool
  /// One for each operation that was carried out, in their order.
  public var results: [OperationResult]

  /// The revision of the store after it.
  public var revision: Int64 { header.revision }

  /// The keys that the operation at `index` read; none when it was no read.
  public func keyValues(at index: Int) -> [KeyValue] {
    guard results.indices.contains(index), case .range(let range) = results[index] else {
      return []
    }
    return range.keyValues
  }

  init(_ wire: Etcdserverpb.TxnResponse, _ scope: CallScope) {
    header = ResponseHeader(wire.header)
    succeeded = wire.succeeded
    results = wire.responses.compactMap { OperationResult($0, scope) }
  }
}

/// What came of one operation of a transaction.
public indirect enum OperationResult: Hashable, Sendable {
  case range(RangeResult)
  case put(PutResult)
  case delete(DeleteResult)
  case transaction(TransactionResult)

  init?(_ wire: Etcdserverpb.ResponseOp, _ scope: CallScope) {
    switch wire.response {
    case .responseRange(let range): self = .range(RangeResult(range, scope))
    case .responsePut(let put): self = .put(PutResult(put, scope))
    case .responseDeleteRange(let deletion): self = .delete(DeleteResult(deletion, scope))
    case .responseTxn(let inner): self = .transaction(TransactionResult(inner, scope))
    case nil: return nil
    }
  }
}

import Proto

/// A key with its value and history.
public struct KeyValue: Hashable, Sendable {
  public var key: [UInt8]
  public var value: [UInt8]
  /// The revision at which the key came to be, after it was last deleted.
  public var createRevision: Int64
  /// The revision of its last change.
  public var modRevision: Int64
  /// How often it was changed since it came to be; 1 for a new key.
  public var version: Int64
  /// The lease that the key goes away with; `.none` for one that stays.
  public var lease: LeaseID

  /// The key and the value as text; what is not UTF-8 is replaced by U+FFFD.
  public var keyText: String { key.text }
  public var text: String { value.text }

  init(_ wire: Mvccpb.KeyValue, _ scope: CallScope) {
    key = scope.stripped(wire.key)
    value = wire.value
    createRevision = wire.createRevision
    modRevision = wire.modRevision
    version = wire.version
    lease = LeaseID(rawValue: wire.lease)
  }
}

/// Who answered, and when in the history of the keys.
public struct ResponseHeader: Hashable, Sendable {
  public var clusterID: UInt64
  public var memberID: MemberID
  /// The revision of the whole store when the request was carried out.
  public var revision: Int64
  /// The term of the member's leader.
  public var raftTerm: UInt64

  init(_ wire: Etcdserverpb.ResponseHeader?) {
    clusterID = wire?.clusterID ?? 0
    memberID = MemberID(rawValue: wire?.memberID ?? 0)
    revision = wire?.revision ?? 0
    raftTerm = wire?.raftTerm ?? 0
  }
}

/// What a read of a range brought.
public struct RangeResult: Hashable, Sendable {
  public var header: ResponseHeader
  public var keyValues: [KeyValue]
  /// The limit cut the list.
  public var hasMore: Bool
  /// How many keys the range has, whatever the limit.
  public var count: Int64

  init(_ wire: Etcdserverpb.RangeResponse, _ scope: CallScope) {
    header = ResponseHeader(wire.header)
    keyValues = wire.kvs.map { KeyValue($0, scope) }
    hasMore = wire.more
    count = wire.count
  }
}

/// What came of a put.
public struct PutResult: Hashable, Sendable {
  public var header: ResponseHeader
  /// The key as it was before, when that was asked for and the key existed.
  public var previous: KeyValue?

  /// The revision that the put made.
  public var revision: Int64 { header.revision }

  init(_ wire: Etcdserverpb.PutResponse, _ scope: CallScope) {
    header = ResponseHeader(wire.header)
    previous = wire.prevKV.map { KeyValue($0, scope) }
  }
}

/// What came of a delete.
public struct DeleteResult: Hashable, Sendable {
  public var header: ResponseHeader
  /// How many keys were deleted.
  public var count: Int64
  /// The keys as they were before, when that was asked for.
  public var previous: [KeyValue]

  init(_ wire: Etcdserverpb.DeleteRangeResponse, _ scope: CallScope) {
    header = ResponseHeader(wire.header)
    count = wire.deleted
    previous = wire.prevKVs.map { KeyValue($0, scope) }
  }
}

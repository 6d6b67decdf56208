import Proto

/// One change of one key.
public struct WatchEvent: Hashable, Sendable {
  public enum Kind: Hashable, Sendable {
    case put, delete
  }

  public var kind: Kind
  /// The key as the change left it; of a deleted one only the key and the revision of the deletion.
  public var keyValue: KeyValue
  /// The key as it was before, when that was asked for and it existed and is not compacted yet.
  public var previous: KeyValue?

  public var key: [UInt8] { keyValue.key }
  /// The revision that the change made.
  public var revision: Int64 { keyValue.modRevision }
  /// Whether the key did not exist before.
  public var isCreation: Bool {
    kind == .put && keyValue.createRevision == keyValue.modRevision
  }

  init?(_ wire: Mvccpb.Event, _ scope: CallScope) {
    guard let keyValue = wire.kv else { return nil }
    kind = wire.type == .delete ? .delete : .put
    self.keyValue = KeyValue(keyValue, scope)
    previous = wire.prevKV.map { KeyValue($0, scope) }
  }
}

/// The changes of one or several whole revisions.
public struct WatchBatch: Hashable, Sendable {
  /// In the order in which they happened. Empty when the batch only reports progress.
  public var events: [WatchEvent]
  /// Everything up to this revision has been delivered.
  public var revision: Int64
  /// Who told it, and how far the store was then.
  public var header: ResponseHeader
}

/// What a watch tells, and from when on.
public struct WatchOptions: Hashable, Sendable {
  /// The first revision that is told; 0 for what happens after `Client.watch` returned. A revision
  /// that is compacted ends the watch with `compacted`.
  public var startRevision: Int64
  /// Events carry the key as it was before.
  public var includesPrevious: Bool
  /// Only puts, or only deletes; nil both.
  public var only: WatchEvent.Kind?
  /// `Watch.batches` has batches without events, with which members tell now and then how far they
  /// have come.
  public var reportsProgress: Bool

  public init(
    startRevision: Int64 = 0,
    includesPrevious: Bool = false,
    only: WatchEvent.Kind? = nil,
    reportsProgress: Bool = false
  ) {
    self.startRevision = startRevision
    self.includesPrevious = includesPrevious
    self.only = only
    self.reportsProgress = reportsProgress
  }

  func request(
    _ range: KeyRange,
    _ scope: CallScope,
    from revision: Int64
  ) -> Etcdserverpb.WatchRequest {
    let range = range.within(scope.prefix)
    var create = Etcdserverpb.WatchCreateRequest()
    create.key = range.start
    create.rangeEnd = range.end
    create.startRevision = revision
    // Also for ourselves: a watch that stays idle must not fall behind a compaction.
    create.progressNotify = true
    create.prevKV = includesPrevious
    create.fragment = true
    switch only {
    case .put: create.filters = [.nodelete]
    case .delete: create.filters = [.noput]
    case nil: break
    }
    var request = Etcdserverpb.WatchRequest()
    request.requestUnion = .createRequest(create)
    return request
  }
}

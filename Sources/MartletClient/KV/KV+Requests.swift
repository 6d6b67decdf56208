import Proto

// What the calls' arguments are on the wire.

extension RangeOptions {
  func request(
    _ range: KeyRange,
    _ scope: CallScope,
    countOnly: Bool = false
  ) -> Etcdserverpb.RangeRequest {
    let range = range.within(scope.prefix)
    var request = Etcdserverpb.RangeRequest(key: range.start, rangeEnd: range.end)
    request.limit = limit
    request.revision = revision
    request.serializable = isSerializable
    request.keysOnly = keysOnly
    request.countOnly = countOnly
    request.minModRevision = minModRevision
    request.maxModRevision = maxModRevision
    request.minCreateRevision = minCreateRevision
    request.maxCreateRevision = maxCreateRevision
    switch order {
    case .ascending(let field):
      request.sortOrder = .ascend
      request.sortTarget = field.wire
    case .descending(let field):
      request.sortOrder = .descend
      request.sortTarget = field.wire
    case nil: break
    }
    return request
  }
}

extension RangeOptions.Field {
  var wire: Etcdserverpb.RangeRequest.SortTarget {
    switch self {
    case .key: .key
    case .version: .version
    case .createRevision: .create
    case .modRevision: .mod
    case .value: .value
    }
  }
}

extension Condition {
  func wire(_ scope: CallScope) -> Etcdserverpb.Compare {
    let range = range.within(scope.prefix)
    let result: Etcdserverpb.Compare.CompareResult =
      switch relation {
      case .equal: .equal
      case .notEqual: .notEqual
      case .less: .less
      case .greater: .greater
      }
    let (target, union): (Etcdserverpb.Compare.CompareTarget, Etcdserverpb.Compare.TargetUnion) =
      switch subject {
      case .version(let version): (.version, .version(version))
      case .createRevision(let revision): (.create, .createRevision(revision))
      case .modRevision(let revision): (.mod, .modRevision(revision))
      case .value(let value): (.value, .value(value))
      case .lease(let lease): (.lease, .lease(lease.rawValue))
      }
    var compare = Etcdserverpb.Compare()
    compare.result = result
    compare.target = target
    compare.key = range.start
    compare.rangeEnd = range.end
    compare.targetUnion = union
    return compare
  }
}

extension Operation {
  func wire(_ scope: CallScope) -> Etcdserverpb.RequestOp {
    var operation = Etcdserverpb.RequestOp()
    operation.request =
      switch kind {
      case .range(let range, let options, let countOnly):
        .requestRange(options.request(range, scope, countOnly: countOnly))
      case .put(let put): .requestPut(put.request(scope))
      case .delete(let range, let returnsPrevious):
        .requestDeleteRange(Self.deletion(range, returnsPrevious, scope))
      case .transaction(let transaction): .requestTxn(transaction.wire(scope))
      }
    return operation
  }

  static func deletion(
    _ range: KeyRange,
    _ returnsPrevious: Bool,
    _ scope: CallScope
  ) -> Etcdserverpb.DeleteRangeRequest {
    let range = range.within(scope.prefix)
    return Etcdserverpb.DeleteRangeRequest(
      key: range.start,
      rangeEnd: range.end,
      prevKV: returnsPrevious
    )
  }
}

extension Operation.Put {
  func request(_ scope: CallScope) -> Etcdserverpb.PutRequest {
    Etcdserverpb.PutRequest(
      key: scope.key(key),
      value: value ?? [],
      lease: lease?.rawValue ?? 0,
      prevKV: returnsPrevious,
      ignoreValue: value == nil,
      ignoreLease: lease == nil
    )
  }
}

extension Transaction {
  func wire(_ scope: CallScope) -> Etcdserverpb.TxnRequest {
    Etcdserverpb.TxnRequest(
      compare: conditions.map { $0.wire(scope) },
      success: success.map { $0.wire(scope) },
      failure: failure.map { $0.wire(scope) }
    )
  }
}

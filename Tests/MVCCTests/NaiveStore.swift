import MVCC
import Proto

/// The store by the simplest means: a list of all changes ever made, searched from the front.
struct NaiveStore {
  struct Change {
    var main: Int64
    var sub: Int64
    /// Nil for a delete.
    var pair: Mvccpb.KeyValue?
    var key: [UInt8]
  }

  var changes: [Change] = []
  var current: Int64 = 1
  var compacted: Int64 = -1

  /// Pairs in a range at a revision, in order of keys.
  func pairs(_ key: [UInt8], _ end: [UInt8], at revision: Int64) -> [Mvccpb.KeyValue] {
    var newest: [[UInt8]: Mvccpb.KeyValue?] = [:]
    for change in changes where change.main <= revision { newest[change.key] = change.pair }
    return newest.values.compactMap { $0 }
      .filter { Self.contains(key, end, $0.key) }
      .sorted { $0.key.lexicographicallyPrecedes($1.key) }
  }

  static func contains(_ key: [UInt8], _ end: [UInt8], _ candidate: [UInt8]) -> Bool {
    if end.isEmpty { return candidate == key }
    if candidate.lexicographicallyPrecedes(key) { return false }
    return end == [0] || candidate.lexicographicallyPrecedes(end)
  }

  func range(
    _ request: Pb.RangeRequest,
    header: Pb.ResponseHeader,
    now: Int64
  ) throws -> Pb.RangeResponse {
    if request.revision > now { throw StoreError.futureRevision }
    let revision = request.revision <= 0 ? now : request.revision
    if revision < compacted { throw StoreError.compacted }
    let all = pairs(request.key, request.rangeEnd, at: revision)
    var response = Pb.RangeResponse(header: header, count: Int64(all.count))
    if request.countOnly { return response }
    var kvs = all.filter {
      (request.minModRevision == 0 || $0.modRevision >= request.minModRevision)
        && (request.maxModRevision == 0 || $0.modRevision <= request.maxModRevision)
        && (request.minCreateRevision == 0 || $0.createRevision >= request.minCreateRevision)
        && (request.maxCreateRevision == 0 || $0.createRevision <= request.maxCreateRevision)
    }
    let hasFilters =
      request.minModRevision != 0 || request.maxModRevision != 0
      || request.minCreateRevision != 0 || request.maxCreateRevision != 0
    if request.limit > 0 && request.sortOrder == .none && !hasFilters {
      kvs = Array(kvs.prefix(Int(request.limit) + 1))
    }
    kvs = Self.sorted(kvs, request)
    if request.limit > 0 && kvs.count > request.limit {
      kvs = Array(kvs.prefix(Int(request.limit)))
      response.more = true
    }
    if request.keysOnly { for index in kvs.indices { kvs[index].value = [] } }
    response.kvs = kvs
    return response
  }

  private static func sorted(
    _ kvs: [Mvccpb.KeyValue],
    _ request: Pb.RangeRequest
  ) -> [Mvccpb.KeyValue] {
    func order(_ a: Mvccpb.KeyValue, _ b: Mvccpb.KeyValue) -> Bool {
      switch request.sortTarget {
      case .version: a.version < b.version
      case .create: a.createRevision < b.createRevision
      case .mod: a.modRevision < b.modRevision
      case .value: a.value.lexicographicallyPrecedes(b.value)
      default: a.key.lexicographicallyPrecedes(b.key)
      }
    }
    // Insertion sort, so that equal pairs keep their order in both directions.
    var result: [Mvccpb.KeyValue] = []
    for pair in kvs {
      let isBefore = { (other: Mvccpb.KeyValue) in
        request.sortOrder == .descend ? order(other, pair) : order(pair, other)
      }
      result.insert(pair, at: result.firstIndex(where: isBefore) ?? result.count)
    }
    return result
  }

  // MARK: Writing. `main` is the revision being made; `current` moves when the request ends.

  /// Within a txn a delete "from key on" may have taken the key whose value is to be kept; then the
  /// value is empty.
  mutating func put(
    _ request: Pb.PutRequest,
    main: Int64,
    sub: inout Int64
  ) -> Mvccpb.KeyValue? {
    let previous = pairs(request.key, [], at: main).first
    var pair = Mvccpb.KeyValue(
      key: request.key,
      createRevision: previous?.createRevision ?? main,
      modRevision: main,
      version: (previous?.version ?? 0) + 1,
      value: request.value
    )
    if request.ignoreValue { pair.value = previous?.value ?? [] }
    changes.append(Change(main: main, sub: sub, pair: pair, key: request.key))
    sub += 1
    return request.prevKV ? previous : nil
  }

  mutating func delete(
    _ request: Pb.DeleteRangeRequest,
    main: Int64,
    sub: inout Int64
  ) -> (Int64, [Mvccpb.KeyValue]) {
    let found = pairs(request.key, request.rangeEnd, at: main)
    for pair in found {
      changes.append(Change(main: main, sub: sub, pair: nil, key: pair.key))
      sub += 1
    }
    return (Int64(found.count), request.prevKV ? found : [])
  }

  mutating func apply(_ request: Pb.PutRequest) throws -> Pb.PutResponse {
    if request.lease != 0 { throw StoreError.leaseNotFound }
    if (request.ignoreValue || request.ignoreLease) && pairs(request.key, [], at: current).isEmpty {
      throw StoreError.keyNotFound
    }
    var sub: Int64 = 0
    let previous = put(request, main: current + 1, sub: &sub)
    current += 1
    return Pb.PutResponse(header: StoreHarness.header(current), prevKV: previous)
  }

  mutating func apply(_ request: Pb.DeleteRangeRequest) -> Pb.DeleteRangeResponse {
    var sub: Int64 = 0
    let (count, previous) = delete(request, main: current + 1, sub: &sub)
    if count > 0 { current += 1 }
    return Pb.DeleteRangeResponse(
      header: StoreHarness.header(current),
      deleted: count,
      prevKVs: previous
    )
  }

  mutating func compact(_ revision: Int64) throws {
    if revision <= compacted { throw StoreError.compacted }
    if revision > current { throw StoreError.futureRevision }
    compacted = revision
  }
}

// Txns.
extension NaiveStore {
  mutating func apply(_ request: Pb.TxnRequest) throws -> Pb.TxnResponse {
    let before = self
    do {
      var path = evaluate(request)
      let full = path
      var deleted: Set<[UInt8]> = []
      try checkPuts(request, &path, &deleted)
      path = full
      try checkRanges(request, &path)
      path = full
      var sub: Int64 = 0
      var response = try run(request, &path, main: current + 1, sub: &sub)
      if sub > 0 { current += 1 }
      response.header = StoreHarness.header(current)
      return response
    } catch {
      self = before
      throw error
    }
  }

  /// Which branch each txn reached takes, in order. All compares see the state before the txn.
  private func evaluate(_ request: Pb.TxnRequest) -> [Bool] {
    let succeeded = request.compare.allSatisfy(holds)
    var path = [succeeded]
    for case .requestTxn(let nested)? in branch(request, succeeded).map(\.request) {
      path += evaluate(nested)
    }
    return path
  }

  private func branch(_ request: Pb.TxnRequest, _ succeeded: Bool) -> [Pb.RequestOp] {
    succeeded ? request.success : request.failure
  }

  /// `deleted`: the keys that operations before have deleted.
  private func checkPuts(
    _ request: Pb.TxnRequest,
    _ path: inout [Bool],
    _ deleted: inout Set<[UInt8]>
  ) throws {
    for operation in branch(request, path.removeFirst()) {
      switch operation.request {
      case .requestPut(let put):
        let exists = !pairs(put.key, [], at: current).isEmpty && !deleted.contains(put.key)
        if (put.ignoreValue || put.ignoreLease) && !exists { throw StoreError.keyNotFound }
        if put.lease != 0 { throw StoreError.leaseNotFound }
      case .requestDeleteRange(let delete):
        deleted.formUnion(pairs(delete.key, delete.rangeEnd, at: current).map(\.key))
      case .requestTxn(let nested): try checkPuts(nested, &path, &deleted)
      default: continue
      }
    }
  }

  private func checkRanges(_ request: Pb.TxnRequest, _ path: inout [Bool]) throws {
    for operation in branch(request, path.removeFirst()) {
      switch operation.request {
      case .requestRange(let range):
        if range.revision > current { throw StoreError.futureRevision }
        if range.revision != 0 && range.revision < compacted { throw StoreError.compacted }
      case .requestTxn(let nested): try checkRanges(nested, &path)
      default: continue
      }
    }
  }

  private mutating func run(
    _ request: Pb.TxnRequest,
    _ path: inout [Bool],
    main: Int64,
    sub: inout Int64
  ) throws -> Pb.TxnResponse {
    let succeeded = path.removeFirst()
    var response = Pb.TxnResponse(header: Pb.ResponseHeader(), succeeded: succeeded)
    for operation in branch(request, succeeded) {
      let answer: Pb.ResponseOp.Response
      switch operation.request {
      case .requestRange(let range):
        let now = sub > 0 ? main : main - 1
        answer = .responseRange(
          try self.range(range, header: Pb.ResponseHeader(revision: now), now: now)
        )
      case .requestPut(let put):
        let previous = self.put(put, main: main, sub: &sub)
        answer = .responsePut(
          Pb.PutResponse(header: Pb.ResponseHeader(revision: main), prevKV: previous)
        )
      case .requestDeleteRange(let delete):
        let (count, previous) = self.delete(delete, main: main, sub: &sub)
        let now = sub > 0 ? main : main - 1
        answer = .responseDeleteRange(
          Pb.DeleteRangeResponse(
            header: Pb.ResponseHeader(revision: now),
            deleted: count,
            prevKVs: previous
          )
        )
      case .requestTxn(let nested):
        answer = .responseTxn(try run(nested, &path, main: main, sub: &sub))
      case nil: continue
      }
      response.responses.append(Pb.ResponseOp(response: answer))
    }
    return response
  }

  private func holds(_ compare: Pb.Compare) -> Bool {
    let found = pairs(compare.key, compare.rangeEnd, at: current)
    if found.isEmpty {
      return compare.target != .value && holds(compare, Mvccpb.KeyValue())
    }
    return found.allSatisfy { holds(compare, $0) }
  }

  private func holds(_ compare: Pb.Compare, _ pair: Mvccpb.KeyValue) -> Bool {
    func sign(_ stored: Int64, _ given: Int64) -> Int { Int((stored - given).signum()) }
    var order = 0
    switch (compare.target, compare.targetUnion) {
    case (.version, .version(let given)): order = sign(pair.version, given)
    case (.version, _): order = sign(pair.version, 0)
    case (.create, .createRevision(let given)): order = sign(pair.createRevision, given)
    case (.create, _): order = sign(pair.createRevision, 0)
    case (.mod, .modRevision(let given)): order = sign(pair.modRevision, given)
    case (.mod, _): order = sign(pair.modRevision, 0)
    case (.lease, .lease(let given)): order = sign(pair.lease, given)
    case (.lease, _): order = sign(pair.lease, 0)
    case (.value, let union):
      var given: [UInt8] = []
      if case .value(let bytes) = union { given = bytes }
      order =
        pair.value == given ? 0 : pair.value.lexicographicallyPrecedes(given) ? -1 : 1
    default: order = 0
    }
    switch compare.result {
    case .equal: return order == 0
    case .greater: return order > 0
    case .less: return order < 0
    case .notEqual: return order != 0
    default: return true
    }
  }

  // MARK: Hash

  /// The input of HashKV: revisions and pairs as etcd's backend stores them.
  func hashInput(upTo revision: Int64) -> [UInt8] {
    let live = newestSubs(at: revision)
    let keptAt = live.isEmpty ? newestSubs(at: compacted) : live
    var bytes = Array("key".utf8)
    for change in changes where change.main <= revision {
      if change.main <= compacted {
        guard let kept = keptAt[change.key], kept == (change.main, change.sub) else { continue }
      }
      for shift in stride(from: 56, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: change.main >> Int64(shift)))
      }
      bytes.append(UInt8(ascii: "_"))
      for shift in stride(from: 56, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: change.sub >> Int64(shift)))
      }
      if change.pair == nil { bytes.append(UInt8(ascii: "t")) }
      bytes += (change.pair ?? Mvccpb.KeyValue(key: change.key)).encoded()
    }
    return bytes
  }

  private func newestSubs(at revision: Int64) -> [[UInt8]: (Int64, Int64)] {
    var result: [[UInt8]: (Int64, Int64)] = [:]
    for change in changes where change.main <= revision {
      result[change.key] = change.pair == nil ? nil : (change.main, change.sub)
    }
    return result
  }
}

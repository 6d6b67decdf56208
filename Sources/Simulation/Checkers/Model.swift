import Base
import Lease
import Proto
import Replica

/// The store by the simplest means: for each key, in order of keys, all that it ever was.
struct Model: Hashable {
  struct Version: Hashable {
    var main: Int64
    /// Nil from a delete on.
    var pair: Mvccpb.KeyValue?
  }

  struct KeyHistory: Hashable {
    var key: [UInt8]
    var versions: [Version]
  }

  /// Whether old versions are kept; without them only the newest revision can be read.
  let keepsHistory: Bool
  private(set) var history: [KeyHistory] = []
  private(set) var current: Int64 = 1
  private(set) var compacted: Int64 = -1
  /// By ID: what was granted and when, and what is left as of the last checkpoint.
  private(set) var leases: [Int64: StoredLease] = [:]

  init(keepsHistory: Bool = true) {
    self.keepsHistory = keepsHistory
  }

  /// Few bytes for much state: revisions say what there is.
  func hash(into hasher: inout Hasher) {
    hasher.combine(current)
    hasher.combine(leases.count)
    for entry in history { hasher.combine(entry.versions.last?.main) }
  }

  private func position(of key: [UInt8]) -> Int {
    history.firstIndex { !$0.key.lexicographicallyPrecedes(key) } ?? history.count
  }

  fileprivate mutating func note(_ key: [UInt8], _ version: Version) {
    let place = position(of: key)
    if place == history.count || history[place].key != key {
      history.insert(KeyHistory(key: key, versions: []), at: place)
    }
    if !keepsHistory { history[place].versions.removeAll() }
    history[place].versions.append(version)
  }

  /// The pairs of a range at a revision, in order.
  func pairs(_ key: [UInt8], _ end: [UInt8], at revision: Int64) -> [Mvccpb.KeyValue] {
    history.compactMap { entry in
      let isInside =
        end.isEmpty
        ? entry.key == key
        : !entry.key.lexicographicallyPrecedes(key)
          && (end == [0] || entry.key.lexicographicallyPrecedes(end))
      return isInside ? entry.versions.last { $0.main <= revision }?.pair : nil
    }
  }

  func range(
    _ request: Etcdserverpb.RangeRequest,
    header revision: Int64
  ) -> Etcdserverpb.RangeResponse {
    let found = pairs(
      request.key,
      request.rangeEnd,
      at: request.revision > 0 ? request.revision : revision
    )
    var response = Etcdserverpb.RangeResponse()
    response.header = Etcdserverpb.ResponseHeader(revision: revision)
    response.kvs = found
    response.count = Int64(found.count)
    return response
  }

  private mutating func put(
    _ request: Etcdserverpb.PutRequest,
    _ main: Int64
  ) -> Etcdserverpb.PutResponse {
    let previous = pairs(request.key, [], at: main).first
    note(
      request.key,
      Version(
        main: main,
        pair: Mvccpb.KeyValue(
          key: request.key,
          createRevision: previous?.createRevision ?? main,
          modRevision: main,
          version: (previous?.version ?? 0) + 1,
          value: request.value,
          lease: request.lease
        )
      )
    )
    return Etcdserverpb.PutResponse(
      header: Etcdserverpb.ResponseHeader(revision: main),
      prevKV: request.prevKV ? previous : nil
    )
  }

  private mutating func delete(
    _ request: Etcdserverpb.DeleteRangeRequest,
    _ main: Int64
  ) -> Etcdserverpb.DeleteRangeResponse {
    let found = pairs(request.key, request.rangeEnd, at: main)
    for pair in found { note(pair.key, Version(main: main, pair: nil)) }
    return Etcdserverpb.DeleteRangeResponse(
      deleted: Int64(found.count),
      prevKVs: request.prevKV ? found : []
    )
  }
}

// What a request does and is answered. Headers hold the revision only.
extension Model {
  private func checkLease(_ request: Etcdserverpb.PutRequest) throws(RequestError) {
    if request.lease != 0 && leases[request.lease] == nil { throw .leaseNotFound }
  }

  mutating func apply(
    _ request: Etcdserverpb.PutRequest
  ) throws(RequestError) -> Etcdserverpb.PutResponse {
    try checkLease(request)
    current += 1
    return put(request, current)
  }

  mutating func apply(
    _ request: Etcdserverpb.DeleteRangeRequest
  ) -> Etcdserverpb.DeleteRangeResponse {
    var response = delete(request, current + 1)
    if response.deleted > 0 { current += 1 }
    response.header = Etcdserverpb.ResponseHeader(revision: current)
    return response
  }

  mutating func apply(
    _ request: Etcdserverpb.CompactionRequest
  ) throws(RequestError) -> Etcdserverpb.CompactionResponse {
    if request.revision <= compacted { throw .compacted }
    if request.revision > current { throw .futureRevision }
    compacted = request.revision
    return Etcdserverpb.CompactionResponse(header: Etcdserverpb.ResponseHeader(revision: current))
  }

  mutating func apply(
    _ request: Etcdserverpb.TxnRequest
  ) throws(RequestError) -> Etcdserverpb.TxnResponse {
    let main = current + 1
    let succeeded = request.compare.allSatisfy(holds)
    let branch = succeeded ? request.success : request.failure
    for operation in branch {
      if case .requestPut(let put) = operation.request { try checkLease(put) }
    }
    for operation in branch where keepsHistory {
      guard case .requestRange(let range) = operation.request else { continue }
      if range.revision > current { throw .futureRevision }
      if range.revision != 0, range.revision < compacted { throw .compacted }
    }
    var response = Etcdserverpb.TxnResponse()
    response.succeeded = succeeded
    var now = current
    for operation in branch {
      switch operation.request {
      case .requestPut(let put):
        now = main
        response.responses.append(.init(response: .responsePut(self.put(put, main))))
      case .requestDeleteRange(let delete):
        var answer = self.delete(delete, main)
        if answer.deleted > 0 { now = main }
        answer.header = Etcdserverpb.ResponseHeader(revision: now)
        response.responses.append(.init(response: .responseDeleteRange(answer)))
      case .requestRange(let range):
        // Without history nobody can tell; the oracle can.
        let found =
          keepsHistory || range.revision == 0
          ? self.range(range, header: now) : Etcdserverpb.RangeResponse()
        response.responses.append(.init(response: .responseRange(found)))
      case .requestTxn, nil:
        preconditionFailure("the simulation makes no such operation")
      }
    }
    current = now
    response.header = Etcdserverpb.ResponseHeader(revision: now)
    return response
  }

  private func holds(_ compare: Etcdserverpb.Compare) -> Bool {
    let pair = pairs(compare.key, [], at: current).first
    func order(_ left: Int64, _ right: Int64) -> Bool {
      switch compare.result {
      case .equal: left == right
      case .notEqual: left != right
      case .less: left < right
      default: left > right
      }
    }
    switch compare.targetUnion {
    case .version(let given): return order(pair?.version ?? 0, given)
    case .modRevision(let given): return order(pair?.modRevision ?? 0, given)
    case .createRevision(let given): return order(pair?.createRevision ?? 0, given)
    case .value(let given):
      return pair.map { ($0.value == given) == (compare.result == .equal) } ?? false
    default: preconditionFailure("the simulation makes no such compare")
    }
  }
}

// Leases.
extension Model {
  private var header: Etcdserverpb.ResponseHeader {
    Etcdserverpb.ResponseHeader(revision: current)
  }

  /// The keys on a lease, in order.
  func keys(on lease: Int64) -> [[UInt8]] {
    pairs([0], [0], at: current).filter { $0.lease == lease }.map(\.key)
  }

  mutating func apply(
    _ request: Etcdserverpb.LeaseGrantRequest,
    at index: UInt64
  ) throws(RequestError) -> Etcdserverpb.LeaseGrantResponse {
    if request.ttl > 9_000_000_000 { throw .leaseTimeToLiveTooLarge }
    if leases[request.id] != nil { throw .leaseExists }
    leases[request.id] = StoredLease(
      id: LeaseID(request.id),
      grantedSeconds: request.ttl,
      grantedAt: LogIndex(index)
    )
    return Etcdserverpb.LeaseGrantResponse(header: header, id: request.id, ttl: request.ttl)
  }

  mutating func apply(
    _ request: Etcdserverpb.LeaseRevokeRequest
  ) throws(RequestError) -> Etcdserverpb.LeaseRevokeResponse {
    if leases[request.id] == nil { throw .leaseNotFound }
    end(request.id)
    return Etcdserverpb.LeaseRevokeResponse(header: header)
  }

  mutating func apply(
    _ checkpoints: [Etcdserverpb.LeaseCheckpoint]
  ) -> Etcdserverpb.LeaseCheckpointResponse {
    for checkpoint in checkpoints {
      self.checkpoint(checkpoint.id, checkpoint.remainingTTL)
    }
    return Etcdserverpb.LeaseCheckpointResponse(header: header)
  }

  /// As much as was granted is as good as no checkpoint.
  mutating func checkpoint(_ lease: Int64, _ seconds: Int64) {
    let granted = leases[lease]?.grantedSeconds ?? 0
    leases[lease]?.remainingSeconds = seconds < granted ? seconds : 0
  }

  /// Whether a lease is there, and was when the entry `index` had been applied.
  func isMeant(_ lease: Int64, _ index: UInt64) -> Bool {
    leases[lease].map { $0.grantedAt.rawValue <= index } ?? false
  }

  /// Removes a lease and its keys: one revision, or none.
  mutating func end(_ lease: Int64) {
    let keys = keys(on: lease)
    leases[lease] = nil
    guard !keys.isEmpty else { return }
    current += 1
    for key in keys { note(key, Version(main: current, pair: nil)) }
  }
}

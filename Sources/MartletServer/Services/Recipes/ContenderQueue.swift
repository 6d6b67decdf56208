import Proto
import RPC

/// Those who want the same name, in a row: each has a key under the name's prefix and a lease that
/// the key goes with; who came first, by create revision, has what all want.
///
/// The create revision of the key is a fencing token: it grows from holder to holder, and a
/// transaction that compares it fails once the key is gone.
struct ContenderQueue: Sendable {
  /// The time of a lease that is granted for a contender who brought none, in seconds.
  static let leaseSeconds: Int64 = 60
  /// How often such a lease is renewed while its contender waits.
  private static let renewalPause = Duration.seconds(20)
  /// How long cleaning up behind a contender who gives up may take.
  private static let leaveTimeoutNanoseconds: UInt64 = 2_000_000_000

  let calls: RecipeCalls
  /// The name and a slash.
  let prefix: [UInt8]

  init(_ calls: RecipeCalls, name: [UInt8]) {
    self.calls = calls
    prefix = name + [UInt8(ascii: "/")]
  }

  /// A contender's place in the row.
  struct Place: Sendable {
    var key: [UInt8]
    var lease: Int64
    /// The create revision of the key: who has the lowest is first.
    var revision: Int64
    /// What the key had when it was there before this call; nil when the call made it.
    var found: Mvccpb.KeyValue?
    /// The lease was granted for this call.
    var hasOwnLease: Bool
    var isFirst: Bool
    var header: Etcdserverpb.ResponseHeader
  }

  /// Takes a place, or finds the one that the lease has. Lease 0 gets one of its own.
  ///
  /// Runs to its end also when the task is cancelled, so that it is known what there is to clean
  /// up; throws `CancellationError` then, and has cleaned up.
  func enter(lease: Int64, value: [UInt8]) async throws -> Place {
    let place = try await Task { try await takePlace(lease: lease, value: value) }.value
    guard Task.isCancelled else { return place }
    await leave(place)
    throw CancellationError()
  }

  private func takePlace(lease: Int64, value: [UInt8]) async throws -> Place {
    let hasOwnLease = lease == 0
    let lease = hasOwnLease ? try await calls.grantLease(seconds: Self.leaseSeconds) : lease
    let key = prefix + Array(String(UInt64(bitPattern: lease), radix: 16).utf8)
    var request = Etcdserverpb.TxnRequest()
    request.compare = [.createRevision(of: key, is: 0)]
    request.success = [
      .put(Etcdserverpb.PutRequest(key: key, value: value, lease: lease)), .range(firstCreated),
    ]
    request.failure = [.range(Etcdserverpb.RangeRequest(key: key)), .range(firstCreated)]
    let response: Etcdserverpb.TxnResponse
    do {
      response = try await calls.transact(request)
    } catch {
      if hasOwnLease { try? await calls.revokeLease(lease) }
      throw error
    }
    let header = response.header ?? Etcdserverpb.ResponseHeader()
    let found = response.succeeded ? nil : response.responses.first?.found.first
    let revision = found?.createRevision ?? header.revision
    let owner = response.responses.last?.found.first
    return Place(
      key: key,
      lease: lease,
      revision: revision,
      found: found,
      hasOwnLease: hasOwnLease,
      isFirst: owner.map { $0.createRevision == revision } ?? true,
      header: header
    )
  }

  /// The key under the prefix that was created before all others.
  private var firstCreated: Etcdserverpb.RangeRequest {
    Etcdserverpb.RangeRequest(
      key: prefix,
      rangeEnd: KeyPrefix.end(of: prefix),
      limit: 1,
      sortOrder: .ascend,
      sortTarget: .create
    )
  }

  /// Who is first now, and the header of the answer that says so.
  func first() async throws -> (Mvccpb.KeyValue?, Etcdserverpb.ResponseHeader) {
    let response = try await calls.range(firstCreated)
    return (response.kvs.first, response.header ?? Etcdserverpb.ResponseHeader())
  }

  /// Suspends until everybody before the place is gone. Returns the header of the read that proved
  /// it: at that revision the key of the place was there, under its lease, and the first.
  ///
  /// Throws `sessionExpired` when the key is gone when its turn has come.
  func waitUntilFirst(_ place: Place) async throws -> Etcdserverpb.ResponseHeader {
    if place.isFirst {
      if let found = place.found, found.lease != place.lease { throw RecipeError.sessionExpired }
      return place.header
    }
    let renewal = place.hasOwnLease ? Task { try await renewForEver(place.lease) } : nil
    defer { renewal?.cancel() }
    while let (before, revision) = try await lastBefore(place) {
      try await calls.watch(
        Etcdserverpb.WatchCreateRequest(
          key: before.key,
          startRevision: revision + 1,
          filters: [.noput]
        )
      ) { event, _ in event.type != .delete }
    }
    if place.hasOwnLease { try await calls.renewLease(place.lease) }
    return try await confirm(place)
  }

  /// The contender just before the place, and the revision at which it was there.
  private func lastBefore(_ place: Place) async throws -> (Mvccpb.KeyValue, Int64)? {
    let response = try await calls.range(
      Etcdserverpb.RangeRequest(
        key: prefix,
        rangeEnd: KeyPrefix.end(of: prefix),
        limit: 1,
        sortOrder: .descend,
        sortTarget: .create,
        maxCreateRevision: place.revision - 1
      )
    )
    guard let before = response.kvs.first, place.revision > 1 else { return nil }
    return (before, response.header?.revision ?? 0)
  }

  /// Reads the place's key: a lease may have ended, and the key with it, while its owner waited.
  private func confirm(_ place: Place) async throws -> Etcdserverpb.ResponseHeader {
    let response = try await calls.range(Etcdserverpb.RangeRequest(key: place.key))
    guard let now = response.kvs.first, now.createRevision == place.revision,
      now.lease == place.lease
    else { throw RecipeError.sessionExpired }
    return response.header ?? Etcdserverpb.ResponseHeader()
  }

  private func renewForEver(_ lease: Int64) async throws {
    while true {
      try await Task.sleep(for: Self.renewalPause)
      try await calls.renewLease(lease)
    }
  }

  /// Gives the place up, also in a cancelled task: what the call made is taken away, what was there
  /// before it stays. What fails is left to the lease's end.
  func leave(_ place: Place) async {
    await Task {
      var options = calls.options
      options.setTimeout(nanoseconds: Self.leaveTimeoutNanoseconds)
      let calls = calls.with(options)
      if place.hasOwnLease {
        try? await calls.revokeLease(place.lease)
      } else if place.found == nil {
        var request = Etcdserverpb.TxnRequest()
        request.compare = [.createRevision(of: place.key, is: place.revision)]
        request.success = [.delete(key: place.key)]
        _ = try? await calls.transact(request)
      }
    }.value
  }
}

/// The range of the keys that begin alike.
enum KeyPrefix {
  /// The first key behind all that begin with `prefix`; as a range's end, the end of all keys when
  /// there is none.
  static func end(of prefix: [UInt8]) -> [UInt8] {
    var end = prefix
    while let last = end.popLast() {
      if last < 0xFF { return end + [last + 1] }
    }
    return [0]
  }
}

extension Etcdserverpb.Compare {
  static func createRevision(of key: [UInt8], is revision: Int64) -> Self {
    var compare = Self()
    compare.key = key
    compare.target = .create
    compare.result = .equal
    compare.targetUnion = .createRevision(revision)
    return compare
  }
}

extension Etcdserverpb.RequestOp {
  static func put(_ request: Etcdserverpb.PutRequest) -> Self {
    var operation = Self()
    operation.request = .requestPut(request)
    return operation
  }

  static func range(_ request: Etcdserverpb.RangeRequest) -> Self {
    var operation = Self()
    operation.request = .requestRange(request)
    return operation
  }

  static func delete(key: [UInt8]) -> Self {
    var operation = Self()
    operation.request = .requestDeleteRange(Etcdserverpb.DeleteRangeRequest(key: key))
    return operation
  }
}

extension Etcdserverpb.ResponseOp {
  /// The pairs that a range found.
  var found: [Mvccpb.KeyValue] {
    guard case .responseRange(let range) = response else { return [] }
    return range.kvs
  }
}

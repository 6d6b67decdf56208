import Base
import Lease
import Log
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// What is true: the entries that members apply, in order and once each, by a store that never
/// flushed and by the model. The first member to apply an entry says what it is; the others must
/// agree.
final class Oracle {
  enum Outcome: Hashable {
    /// A response whose header holds the revision only.
    case message([UInt8])
    case failure(RequestError)
  }

  /// What a request came to.
  struct AppliedCall {
    var index: UInt64
    var outcome: Outcome
    /// The store's revision afterwards.
    var revision: Int64
  }

  /// One entry as it was first seen.
  private struct KnownEntry: Equatable {
    var term: Term
    var hash: UInt64
  }

  /// One change of a key, in the order of the history.
  struct Event {
    var main: Int64
    var key: [UInt8]
    /// Nil for a delete.
    var pair: Mvccpb.KeyValue?
  }

  /// The state after each entry, by index; that of an empty store at 0.
  private(set) var hashes: [UInt32]
  private(set) var revisions: [Int64] = [1]
  private(set) var model = Model()
  /// By call, for every request applied so far.
  private(set) var outcomes: [UInt64: AppliedCall] = [:]
  /// All changes there ever were.
  private(set) var events: [Event] = []
  /// Leases that expired: which, when it was seen first, after when it must have been, and the
  /// revision then.
  private(set) var expiries: [(lease: Int64, after: UInt64, at: UInt64, revision: Int64)] = []
  /// How many checkpoints leaders made.
  private(set) var checkpoints = 0
  /// The first rule that an entry was found to break.
  private(set) var failure: Violation?
  let store: Store
  /// Until when each lease was promised to live, in true time, and when it was granted.
  private(set) var promises: [Int64: (until: UInt64, granted: UInt64)] = [:]
  /// True time, in nanoseconds.
  var now: UInt64 = 0
  /// How much faster than true time a clock may go, in parts of a thousand.
  let skewPerMilleMax: UInt64
  private let leases = LeaseRegistry()
  private let arena = Arena()
  private var entries: [KnownEntry] = [KnownEntry(term: .zero, hash: 0)]
  private var refused: Set<UInt64> = []
  private var newestFence: Int64 = 0
  /// Who was in the cluster, from which entry on; the founders first.
  var memberships: [KnownMembership]
  /// Of members' whole states, by index.
  var fullHashes: [UInt64: UInt64] = [:]

  init(founding table: MemberTable, skewPerMilleMax: UInt64) throws {
    self.skewPerMilleMax = skewPerMilleMax
    memberships = [KnownMembership(index: 0, model: MembershipModel(founding: table))]
    store = try Store(storage: TieredStorage(over: MemoryStorage()), leases: leases)
    hashes = [store.stateHash]
  }

  var applied: UInt64 { UInt64(hashes.count - 1) }

  func term(at index: LogIndex) -> Term? {
    index.rawValue < entries.count ? entries[Int(index.rawValue)].term : nil
  }

  /// The request of a call was refused before it got into the log: it must not be applied, ever.
  func noteRefused(_ call: UInt64) throws(Violation) {
    if outcomes[call] != nil { throw Violation(.refusal, "call \(call) is applied and refused") }
    refused.insert(call)
  }

  /// Whether a call is known to be done, or known never to be.
  func isDecided(_ call: UInt64) -> Bool { outcomes[call] != nil || refused.contains(call) }

  /// A member is about to apply an entry.
  func note(_ entry: Entry) {
    guard failure == nil else { return }
    do throws(Violation) {
      try check(entry)
    } catch {
      failure = error
    }
  }

  private func check(_ entry: Entry) throws(Violation) {
    let index = entry.index.rawValue
    let known = KnownEntry(term: entry.term, hash: Self.hash(entry.payload))
    if index <= applied {
      guard entries[Int(index)] == known else {
        throw Violation(
          .committedEntry,
          "entry \(index) of term \(entry.term) was applied as one of term "
            + "\(entries[Int(index)].term)"
        )
      }
      return
    }
    guard index == applied + 1 else {
      throw Violation(.committedEntry, "entry \(index) is applied after \(applied)")
    }
    entries.append(known)
    if case .normal(let bytes) = entry.payload {
      guard let request = try? Etcdserverpb.InternalRaftRequest(decoding: bytes.array) else {
        throw Violation(.committedEntry, "entry \(index) does not decode")
      }
      let before = model.current
      try apply(request, at: index)
      for main in before..<model.current { noteEvents(of: main + 1) }
      try checkFence()
    } else if case .configuration(let change) = entry.payload {
      try apply(change, at: index)
    }
    hashes.append(store.stateHash)
    revisions.append(model.current)
    guard store.currentRevision.rawValue == model.current else {
      throw Violation(
        .equalState,
        "revision \(store.currentRevision) at \(index), not \(model.current)"
      )
    }
  }

  private static func hash(_ payload: Payload) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func mix(_ byte: UInt64) { hash = (hash ^ byte) &* 0x0000_0100_0000_01b3 }
    switch payload {
    case .empty: break
    case .normal(let bytes):
      bytes.withUnsafeBytes { for byte in $0 { mix(UInt64(byte)) } }
    case .configuration(let change):
      mix(UInt64(change.transition.rawValue) + 256)
      for single in change.changes {
        mix(UInt64(single.kind.rawValue))
        mix(single.member.rawValue)
      }
      change.context.withUnsafeBytes { for byte in $0 { mix(UInt64(byte)) } }
    }
    return hash
  }

  private func noteEvents(of main: Int64) {
    for entry in model.history {
      guard let version = entry.versions.last, version.main == main else { continue }
      events.append(Event(main: main, key: entry.key, pair: version.pair))
    }
  }

  /// What holders of the lock wrote must bear ever newer tokens.
  private func checkFence() throws(Violation) {
    guard let event = events.last, event.key == LockClient.fencedKey, let pair = event.pair,
      let token = Int64(String(decoding: pair.value, as: UTF8.self))
    else { return }
    guard token >= newestFence else {
      throw Violation(.fencing, "token \(token) writes after token \(newestFence)")
    }
    newestFence = token
  }

  /// A renewal of a lease that said OK, for `seconds` from `start`.
  func promise(_ lease: Int64, seconds: Int64, from start: UInt64) {
    let span = UInt64(seconds) * 1_000_000_000
    let sure = span - span / 1000 * skewPerMilleMax
    let granted = promises[lease]?.granted ?? start
    promises[lease] = (max(promises[lease]?.until ?? 0, start + sure), granted)
  }

  private func apply(
    _ request: Etcdserverpb.InternalRaftRequest,
    at index: UInt64
  ) throws(Violation) {
    let outcome: Outcome
    if let upkeep = request.leaseUpkeep {
      return try apply(upkeep)
    } else if let put = request.put {
      outcome = Self.outcome { () throws(RequestError) in try model.apply(put).encoded() }
      run(put) { (view: Etcdserverpb.PutRequest.View, reply) throws(StoreError) in
        try store.put(view, header: Self.header, reply: &reply)
      }
    } else if let delete = request.deleteRange {
      outcome = .message(model.apply(delete).encoded())
      run(delete) { (view: Etcdserverpb.DeleteRangeRequest.View, reply) throws(StoreError) in
        try store.deleteRange(view, header: Self.header, reply: &reply)
      }
    } else if let txn = request.txn {
      outcome = Self.outcome { () throws(RequestError) in try model.apply(txn).encoded() }
      run(txn) { (view: Etcdserverpb.TxnRequest.View, reply) throws(StoreError) in
        try store.txn(view, header: Self.header, reply: &reply)
      }
    } else if let compaction = request.compaction {
      outcome = Self.outcome { () throws(RequestError) in try model.apply(compaction).encoded() }
      run(compaction) { (view: Etcdserverpb.CompactionRequest.View, reply) throws(StoreError) in
        try store.compact(view, header: Self.header, reply: &reply)
      }
    } else if let outcomeOfLease = applyLease(request, at: index) {
      outcome = outcomeOfLease
    } else if let attributes = request.clusterMemberAttrSet {
      return try apply(attributes, at: index)
    } else {
      return
    }
    try noteOutcome(of: RequestHandle(rawValue: request.id), outcome, at: index)
  }

  func noteOutcome(
    of handle: RequestHandle,
    _ outcome: Outcome,
    at index: UInt64
  ) throws(Violation) {
    // What the member proposes by itself nobody waits for.
    guard handle != .none else { return }
    let call = handle.call
    if refused.contains(call) {
      throw Violation(.refusal, "call \(call) was refused and is applied")
    }
    guard outcomes[call] == nil else {
      throw Violation(.committedEntry, "call \(call) is in the log twice")
    }
    outcomes[call] = AppliedCall(index: index, outcome: outcome, revision: model.current)
  }

  private static func outcome(_ body: () throws(RequestError) -> [UInt8]) -> Outcome {
    do throws(RequestError) {
      return .message(try body())
    } catch {
      return .failure(error)
    }
  }

  /// Applies a request about leases; nil when it is none.
  private func applyLease(
    _ request: Etcdserverpb.InternalRaftRequest,
    at index: UInt64
  ) -> Outcome? {
    if let grant = request.leaseGrant {
      _ = try? leases.grant(
        LeaseID(grant.id),
        seconds: grant.ttl,
        at: LogIndex(index),
        now: 0
      )
      let outcome = Self.outcome { () throws(RequestError) in
        try model.apply(grant, at: index).encoded()
      }
      if case .message = outcome {
        promises[grant.id] = nil
        promise(grant.id, seconds: grant.ttl, from: now)
      }
      return outcome
    }
    if let revoke = request.leaseRevoke {
      end(leases.revoke(LeaseID(revoke.id)))
      return Self.outcome { () throws(RequestError) in try model.apply(revoke).encoded() }
    }
    if let checkpoints = request.leaseCheckpoint?.checkpoints {
      for checkpoint in checkpoints {
        leases.checkpoint(LeaseID(checkpoint.id), remainingSeconds: checkpoint.remainingTTL)
      }
      return .message(model.apply(checkpoints).encoded())
    }
    return nil
  }

  /// What the member found: no expired lease may have been promised more time.
  private func apply(_ upkeep: Etcdserverpb.LeaseUpkeepRequest) throws(Violation) {
    let asOf = LogIndex(upkeep.appliedIndex)
    for checkpoint in upkeep.checkpoints {
      leases.checkpoint(
        LeaseID(checkpoint.id),
        remainingSeconds: checkpoint.remainingTTL,
        asOf: asOf
      )
      if model.isMeant(checkpoint.id, upkeep.appliedIndex) {
        model.checkpoint(checkpoint.id, checkpoint.remainingTTL)
        checkpoints += 1
      }
    }
    for lease in upkeep.expired {
      guard model.isMeant(lease, upkeep.appliedIndex) else { continue }
      let promise = promises[lease] ?? (0, 0)
      if promise.until > now {
        throw Violation(
          .lease,
          "lease \(lease) expires at \(Trace.seconds(now)), it was promised until "
            + Trace.seconds(promise.until)
        )
      }
      end(leases.expire(LeaseID(lease), asOf: asOf))
      model.end(lease)
      expiries.append((lease, promise.granted, now, model.current))
    }
  }

  private func end(_ keys: LeaseKeys?) {
    guard let keys else { return }
    store.withApplyBatch { keys.withKeys { store.delete($0) } }
  }

  private static let header = ResponseHeader(
    clusterID: ClusterID(1),
    memberID: MemberID(1),
    raftTerm: Term(1)
  )

  private func run<View: MessageView>(
    _ request: some Proto.Message,
    _ body: (View, inout ByteWriter) throws(StoreError) -> Void
  ) {
    arena.reset()
    request.encoded().withUnsafeBytes { bytes in
      guard let view = try? View(decoding: bytes, in: arena) else {
        preconditionFailure("a request of the simulation does not decode")
      }
      var reply = ByteWriter()
      // The model says what the outcome is.
      store.withApplyBatch { _ = try? body(view, &reply) }
    }
  }
}

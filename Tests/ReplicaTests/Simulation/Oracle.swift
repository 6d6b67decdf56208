import Base
import Lease
import Log
import MVCC
import Proto
import Replica
import Storage

/// A rule that was found broken.
struct Violation: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) {
    self.description = description
  }
}

/// What is true: the entries of the log applied once each, in order, without any crash, by a store
/// that never flushed and by the model.
final class Oracle {
  enum Outcome: Equatable {
    /// A response whose header holds the revision only.
    case message([UInt8])
    case failure(RequestError)
  }

  /// The state after each entry, by index; that of an empty store at 0.
  private(set) var hashes: [UInt32]
  private(set) var revisions: [Int64] = [1]
  private(set) var model = Model()
  /// By call, for every request applied so far.
  private(set) var outcomes: [UInt64: (index: UInt64, outcome: Outcome)] = [:]
  /// How many leases have expired.
  private(set) var expired = 0
  /// How many checkpoints the member made.
  private(set) var checkpoints = 0
  let store: Store
  /// Until when each lease was promised to live, by the simulated clock.
  var promises: [Int64: UInt64] = [:]
  /// The simulated clock.
  var now: UInt64 = 0
  private let leases = LeaseRegistry()
  private let arena = Arena()
  private var entries: [UInt64: RecoveredEntry] = [:]
  private var lastCall: UInt64 = 0
  private var refused: Set<UInt64> = []

  init() throws {
    store = try Store(storage: TieredStorage(over: MemoryStorage()), leases: leases)
    hashes = [store.stateHash]
  }

  var applied: UInt64 { UInt64(hashes.count - 1) }

  func term(at index: LogIndex) -> Term? { entries[index.rawValue]?.term }

  /// Notes an entry seen in the log. One that was applied must never change.
  func note(_ entry: RecoveredEntry) throws(Violation) {
    let index = entry.index.rawValue
    if index <= applied, let known = entries[index], known != entry {
      throw Violation("entry \(index) was applied and reads differently now")
    }
    entries[index] = entry
  }

  /// The request of a call was refused before it got into the log: it must not be applied later.
  func noteRefused(_ call: UInt64) {
    refused.insert(call)
  }

  func isSame(_ entry: RecoveredEntry) -> Bool { entries[entry.index.rawValue] == entry }

  /// Applies the entries up to `index`, which the log must have.
  func advance(through index: UInt64) throws(Violation) {
    while applied < index {
      let next = applied + 1
      guard let entry = entries[next] else {
        throw Violation("entry \(next) was applied and is not in the log")
      }
      if entry.kind == EntryKind.normal, !entry.data.isEmpty {
        guard let request = try? Etcdserverpb.InternalRaftRequest(decoding: entry.data.array) else {
          throw Violation("entry \(next) does not decode")
        }
        try apply(request, at: next)
      }
      hashes.append(store.stateHash)
      revisions.append(model.current)
      guard store.currentRevision.rawValue == model.current else {
        throw Violation("revision \(store.currentRevision) at \(next), not \(model.current)")
      }
    }
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
    } else {
      return
    }
    // What the member proposes by itself nobody waits for.
    guard RequestHandle(rawValue: request.id) != .none else { return }
    let call = RequestHandle(rawValue: request.id).call
    if refused.contains(call) { throw Violation("call \(call) was refused and is applied") }
    guard call > lastCall else { throw Violation("call \(call) is applied after \(lastCall)") }
    lastCall = call
    outcomes[call] = (index, outcome)
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
        promises[grant.id] = now + UInt64(grant.ttl) * 1_000_000_000
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
      if let promise = promises[lease], promise > now {
        throw Violation("lease \(lease) expires at \(now), it was promised until \(promise)")
      }
      expired += 1
      end(leases.expire(LeaseID(lease), asOf: asOf))
      model.end(lease)
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
    _ request: some Message,
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

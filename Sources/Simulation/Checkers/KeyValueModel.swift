import Base
import Proto
import Replica

/// What clients asked the cluster, and what it did by itself, as the linearizability checker takes
/// it.
struct KeyValueOperation {
  enum Request {
    case put(Etcdserverpb.PutRequest)
    case deleteRange(Etcdserverpb.DeleteRangeRequest)
    case txn(Etcdserverpb.TxnRequest)
    case range(Etcdserverpb.RangeRequest)
    case leaseGrant(Etcdserverpb.LeaseGrantRequest)
    case leaseRevoke(Etcdserverpb.LeaseRevokeRequest)
    /// A lease has expired.
    case expiry(Int64)
  }

  var request: Request
  /// Nil when the client never heard.
  var outcome: Oracle.Outcome?
  /// The store's revision right after it, as the answer's header says.
  var revision: Int64?
  /// It was refused, and never happened.
  var isVoid = false
}

/// The whole store as one object: txns join any keys, and the revision joins them all.
struct KeyValueModel: SequentialModel {
  var initial: Model { Model(keepsHistory: false) }

  func stamp(_ state: Model) -> Int64 { state.current }

  func stamp(of operation: KeyValueOperation) -> Int64? { operation.revision }

  func step(_ state: Model, _ operation: KeyValueOperation) -> Model? {
    if let revision = operation.revision, revision < state.current { return nil }
    var next = state
    let outcome = Self.apply(operation.request, to: &next)
    if let revision = operation.revision, revision != next.current { return nil }
    guard let seen = operation.outcome else { return next }
    return seen == outcome ? next : nil
  }

  /// An outcome as the model can tell it, which keeps no history: ranges at old revisions are left
  /// out. Nil for a txn that failed because of one, which changed nothing.
  static func comparable(
    _ outcome: Oracle.Outcome,
    _ request: KeyValueOperation.Request
  ) -> Oracle.Outcome? {
    guard case .txn(let txn) = request else { return outcome }
    switch outcome {
    case .failure(.compacted), .failure(.futureRevision): return nil
    case .failure: return outcome
    case .message(let bytes):
      guard var response = try? Etcdserverpb.TxnResponse(decoding: bytes) else { return outcome }
      let branch = response.succeeded ? txn.success : txn.failure
      for (place, operation) in branch.enumerated() where place < response.responses.count {
        if case .requestRange(let range) = operation.request, range.revision != 0 {
          response.responses[place].response = .responseRange(.init())
        }
      }
      return .message(response.encoded())
    }
  }

  static func apply(_ request: KeyValueOperation.Request, to model: inout Model) -> Oracle.Outcome {
    do throws(RequestError) {
      switch request {
      case .put(let put): return .message(try model.apply(put).encoded())
      case .deleteRange(let delete): return .message(model.apply(delete).encoded())
      case .txn(let txn): return .message(try model.apply(txn).encoded())
      case .range(let range): return .message(model.range(range, header: model.current).encoded())
      case .leaseGrant(let grant): return .message(try model.apply(grant, at: 0).encoded())
      case .leaseRevoke(let revoke): return .message(try model.apply(revoke).encoded())
      case .expiry(let lease):
        model.end(lease)
        return .message([])
      }
    } catch {
      return .failure(error)
    }
  }
}

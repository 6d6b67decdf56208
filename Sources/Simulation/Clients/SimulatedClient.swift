import Base
import Proto
import Replica

/// One thing that a client asks of the cluster.
enum ClientRequest {
  case proposal(SimulatedRequest, KeyValueOperation.Request?)
  case range(Etcdserverpb.RangeRequest, isSerializable: Bool)
  case keepAlive(Int64)
  case membership(MembershipChange)
  /// Who is in the cluster, linearizable.
  case memberList

  init(put: Etcdserverpb.PutRequest) {
    self = .proposal(SimulatedRequest(operation: .put, bytes: put.encoded()), .put(put))
  }

  init(txn: Etcdserverpb.TxnRequest) {
    self = .proposal(SimulatedRequest(operation: .txn, bytes: txn.encoded()), .txn(txn))
  }

  init(grant: Etcdserverpb.LeaseGrantRequest) {
    self = .proposal(
      SimulatedRequest(operation: .leaseGrant, bytes: grant.encoded()),
      .leaseGrant(grant)
    )
  }

  init(revoke: Etcdserverpb.LeaseRevokeRequest) {
    self = .proposal(
      SimulatedRequest(operation: .leaseRevoke, bytes: revoke.encoded()),
      .leaseRevoke(revoke)
    )
  }
}

/// What a client hears.
enum ClientAnswer {
  case outcome(Oracle.Outcome)
  /// The lease goes on for so many seconds; 0 when it is gone.
  case renewed(Int64)
  /// It was surely not done.
  case refused
  /// It may have been done, or may still be.
  case unknown
}

/// A client that makes one request after the other.
class SimulatedClient {
  let number: Int

  /// How long it waits at most between an answer and the next request.
  var pauseMillisecondsMax: Int { 200 }

  init(number: Int) {
    self.number = number
  }

  /// Whom to ask; nil for anybody.
  func target(_ request: ClientRequest, _ simulation: Simulation) -> SimulatedNode? { nil }

  func next(_ simulation: Simulation) -> ClientRequest {
    preconditionFailure("\(type(of: self)) makes no requests")
  }

  func receive(_ answer: ClientAnswer, _ simulation: Simulation) throws {}
}

/// Puts, deletes, txns, ranges and compactions, without a plan.
final class RandomClient: SimulatedClient {
  override func next(_ simulation: Simulation) -> ClientRequest {
    let revision = simulation.oracle.model.current
    if simulation.random.oneIn(3) {
      var range = Etcdserverpb.RangeRequest(key: RequestMaker.randomKey(&simulation.random))
      if simulation.random.oneIn(3) { (range.key, range.rangeEnd) = ([0], [0]) }
      let isSerializable = simulation.random.oneIn(4)
      if simulation.random.oneIn(isSerializable ? 2 : 6) {
        range.revision = max(1, revision - Int64(simulation.random.below(20)))
      }
      return .range(range, isSerializable: isSerializable)
    }
    return .proposal(RequestMaker.make(revision: revision, &simulation.random))
  }
}

extension ClientRequest {
  /// A request with what the checker of histories needs to know of it.
  static func proposal(_ request: SimulatedRequest) -> ClientRequest {
    var known: KeyValueOperation.Request?
    switch request.operation {
    case .put:
      known = (try? Etcdserverpb.PutRequest(decoding: request.bytes)).map { .put($0) }
    case .deleteRange:
      known = (try? Etcdserverpb.DeleteRangeRequest(decoding: request.bytes)).map {
        .deleteRange($0)
      }
    case .txn:
      known = (try? Etcdserverpb.TxnRequest(decoding: request.bytes)).map { .txn($0) }
    case .leaseGrant:
      known = (try? Etcdserverpb.LeaseGrantRequest(decoding: request.bytes)).map { .leaseGrant($0) }
    case .leaseRevoke:
      known = (try? Etcdserverpb.LeaseRevokeRequest(decoding: request.bytes)).map {
        .leaseRevoke($0)
      }
    default: break
    }
    return .proposal(request, known)
  }
}

/// Grants a lease, puts keys on it, keeps it alive for a while, and then forgets it.
final class LeaseClient: SimulatedClient {
  private var lease: Int64 = 0
  private var isGranted = false
  private var renewalsLeft = 0
  private var puts = 0

  override func next(_ simulation: Simulation) -> ClientRequest {
    if lease == 0 {
      lease = simulation.takeLease()
      isGranted = false
      renewalsLeft = simulation.random.below(12)
      puts = 1 + simulation.random.below(2)
    }
    if !isGranted {
      return ClientRequest(
        grant: .init(ttl: Int64(2 + simulation.random.below(5)), id: lease)
      )
    }
    if puts > 0 {
      puts -= 1
      return ClientRequest(
        put: .init(key: RequestMaker.randomKey(&simulation.random), value: [1], lease: lease)
      )
    }
    renewalsLeft -= 1
    return .keepAlive(lease)
  }

  override func receive(_ answer: ClientAnswer, _ simulation: Simulation) throws {
    switch answer {
    case .outcome(.message): isGranted = true
    case .outcome(.failure): lease = 0
    case .renewed(0): lease = 0
    // A grant that may have been made cannot be made again.
    case .unknown where !isGranted: lease = 0
    default: break
    }
    if renewalsLeft <= 0 { lease = 0 }
  }
}

/// Takes a lock by the recipe, writes with its fencing token, and lets it go or forgets it.
final class LockClient: SimulatedClient {
  static let lockKey = Array("lock".utf8)
  static let fencedKey = Array("zz-fenced".utf8)

  private enum Phase { case granting, taking, holding, releasing }

  private var phase = Phase.granting
  private var lease: Int64 = 0
  private var token: Int64 = 0
  private var writesLeft = 0
  private(set) var held = 0

  override func next(_ simulation: Simulation) -> ClientRequest {
    switch phase {
    case .granting:
      lease = simulation.takeLease()
      return ClientRequest(grant: .init(ttl: Int64(2 + simulation.random.below(3)), id: lease))
    case .taking:
      var txn = Etcdserverpb.TxnRequest()
      txn.compare = [Self.compare(0)]
      txn.success = [
        .init(
          request: .requestPut(
            .init(key: Self.lockKey, value: Array("\(number)".utf8), lease: lease)
          )
        )
      ]
      return ClientRequest(txn: txn)
    case .holding:
      writesLeft -= 1
      var txn = Etcdserverpb.TxnRequest()
      txn.compare = [Self.compare(token)]
      txn.success = [
        .init(request: .requestPut(.init(key: Self.fencedKey, value: Array("\(token)".utf8))))
      ]
      return ClientRequest(txn: txn)
    case .releasing:
      return ClientRequest(revoke: .init(id: lease))
    }
  }

  private static func compare(_ createRevision: Int64) -> Etcdserverpb.Compare {
    var compare = Etcdserverpb.Compare(key: lockKey)
    compare.result = .equal
    compare.target = .create
    compare.targetUnion = .createRevision(createRevision)
    return compare
  }

  override func receive(_ answer: ClientAnswer, _ simulation: Simulation) throws {
    var response: Etcdserverpb.TxnResponse?
    if case .outcome(.message(let bytes)) = answer {
      response = try? Etcdserverpb.TxnResponse(decoding: bytes)
    } else if case .outcome(.failure) = answer {
      phase = .granting
      return
    }
    switch (phase, answer) {
    case (.granting, .outcome): phase = .taking
    case (.granting, _): break
    case (.taking, .outcome):
      guard response?.succeeded == true else { break }
      token = response?.header?.revision ?? 0
      held += 1
      writesLeft = 1 + simulation.random.below(6)
      phase = .holding
    case (.taking, .unknown): phase = .releasing
    case (.holding, .outcome) where response?.succeeded != true: phase = .granting
    case (.holding, _):
      if writesLeft <= 0 { phase = simulation.random.oneIn(2) ? .releasing : .granting }
    case (.releasing, .refused): break
    case (.releasing, _): phase = .granting
    default: break
    }
  }
}

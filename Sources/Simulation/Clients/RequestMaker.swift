import Proto
import Replica

/// One request of the simulated clients.
struct SimulatedRequest {
  var operation: ReplicatedOperation
  var bytes: [UInt8]
}

/// Makes random requests over few keys, so that they meet.
struct RequestMaker {
  static let keyCount = 12

  static func key(_ number: Int) -> [UInt8] { Array("key-\(number)".utf8) }

  static let leaseCount = 6

  static func lease(_ random: inout SeededGenerator) -> Int64 {
    Int64(random.below(leaseCount)) + 1
  }

  /// Some within a few ticks of the simulated clock, some long enough for checkpoints.
  private static func grantedSeconds(_ random: inout SeededGenerator) -> Int64 {
    Int64(random.oneIn(2) ? 2 + random.below(20) : 400 + random.below(3000))
  }

  static func randomKey(_ random: inout SeededGenerator) -> [UInt8] {
    key(random.below(keyCount))
  }

  static func make(revision: Int64, _ random: inout SeededGenerator) -> SimulatedRequest {
    switch random.below(24) {
    case 20, 21:
      return SimulatedRequest(
        operation: .leaseGrant,
        bytes: Etcdserverpb.LeaseGrantRequest(
          ttl: random.oneIn(30) ? 9_000_000_001 : grantedSeconds(&random),
          id: lease(&random)
        ).encoded()
      )
    case 22:
      return SimulatedRequest(
        operation: .leaseRevoke,
        bytes: Etcdserverpb.LeaseRevokeRequest(id: lease(&random)).encoded()
      )
    case 23:
      return SimulatedRequest(
        operation: .leaseCheckpoint,
        bytes: Etcdserverpb.LeaseCheckpointRequest(
          checkpoints: [Etcdserverpb.LeaseCheckpoint(id: lease(&random))]
        ).encoded()
      )
    case 0..<10:
      return SimulatedRequest(
        operation: .put,
        bytes: put(randomKey(&random), &random).encoded()
      )
    case 10..<13:
      return SimulatedRequest(operation: .deleteRange, bytes: delete(&random).encoded())
    case 13..<19:
      return SimulatedRequest(
        operation: .txn,
        bytes: txn(revision: revision, &random).encoded()
      )
    default:
      // Now and then one that must be refused.
      let target = revision - Int64(random.below(30)) + (random.oneIn(5) ? 10 : 0)
      return SimulatedRequest(
        operation: .compaction,
        bytes: Etcdserverpb.CompactionRequest(
          revision: target,
          physical: random.oneIn(2)
        ).encoded()
      )
    }
  }

  private static func put(
    _ key: [UInt8],
    _ random: inout SeededGenerator
  ) -> Etcdserverpb.PutRequest {
    Etcdserverpb.PutRequest(
      key: key,
      value: value(&random, countMax: random.oneIn(30) ? 4000 : 100),
      lease: random.oneIn(3) ? lease(&random) : 0,
      prevKV: random.oneIn(4)
    )
  }

  private static func value(_ random: inout SeededGenerator, countMax: Int) -> [UInt8] {
    let byte = UInt8(random.below(4))
    return [UInt8](repeating: byte, count: random.oneIn(3) ? 2 : random.below(countMax))
  }

  private static func delete(
    _ random: inout SeededGenerator
  ) -> Etcdserverpb.DeleteRangeRequest {
    var request = Etcdserverpb.DeleteRangeRequest(
      key: randomKey(&random),
      prevKV: random.oneIn(3)
    )
    if random.oneIn(4) { request.rangeEnd = random.oneIn(4) ? [0] : randomKey(&random) }
    return request
  }

  /// Operations of a branch touch different keys, as a txn must.
  private static func txn(
    revision: Int64,
    _ random: inout SeededGenerator
  ) -> Etcdserverpb.TxnRequest {
    var request = Etcdserverpb.TxnRequest()
    for _ in 0..<random.below(3) { request.compare.append(compare(revision, &random)) }
    request.success = branch(revision, &random)
    request.failure = branch(revision, &random)
    return request
  }

  private static func compare(
    _ revision: Int64,
    _ random: inout SeededGenerator
  ) -> Etcdserverpb.Compare {
    let near = max(0, revision - Int64(random.below(20)))
    var compare = Etcdserverpb.Compare(key: randomKey(&random))
    compare.result = .init(rawValue: Int32(random.below(4)))
    switch random.below(4) {
    case 0:
      compare.target = .version
      compare.targetUnion = .version(Int64(random.below(4)))
    case 1:
      compare.target = .mod
      compare.targetUnion = .modRevision(near)
    case 2:
      compare.target = .create
      compare.targetUnion = .createRevision(random.oneIn(2) ? 0 : near)
    default:
      compare.target = .value
      compare.result = random.oneIn(2) ? .equal : .notEqual
      compare.targetUnion = .value(value(&random, countMax: 3))
    }
    return compare
  }

  private static func branch(
    _ revision: Int64,
    _ random: inout SeededGenerator
  ) -> [Etcdserverpb.RequestOp] {
    var keys = (0..<keyCount).shuffled(using: &random)
    return (0..<random.below(4)).map { _ in
      let key = key(keys.removeLast())
      switch random.below(4) {
      case 0, 1: return .init(request: .requestPut(put(key, &random)))
      case 2: return .init(request: .requestDeleteRange(.init(key: key, prevKV: random.oneIn(2))))
      default:
        var range = Etcdserverpb.RangeRequest(key: key, rangeEnd: random.oneIn(2) ? [0] : [])
        // Some that are compacted by then, or still to come.
        if random.oneIn(4) { range.revision = max(1, revision + 2 - Int64(random.below(40))) }
        return .init(request: .requestRange(range))
      }
    }
  }
}

import Base
import Lease
import Testing

/// Random operations on the registry and on a naive table, which must agree at every step.
@Suite struct LeaseModelTests {
  struct Run {
    let seed: UInt64
    var random: SeededGenerator
    let registry = LeaseRegistry()
    var model = NaiveLeases()
    var now: UInt64 = 1_000_000_000_000
    var index = LogIndex(1)
    var handedOut: [LeaseID] = []
    var checkpoints: [(lease: LeaseID, remainingSeconds: Int64)] = []
    /// What the store would hold, from `takeChanges` alone.
    var stored: [LogIndex: StoredLease] = [:]
    var step = 0

    init(seed: UInt64) {
      self.seed = seed
      random = SeededGenerator(seed: seed)
    }

    var place: Comment { "seed \(seed), step \(step)" }

    mutating func someLease() -> LeaseID {
      LeaseID(Int64(random.below(40)) - 5)
    }

    mutating func someKey() -> [UInt8] {
      let length = 1 + random.below(3)
      return (0..<length).map { _ in [0x00, 0x61, 0xff][random.below(3)] }
    }

    mutating func takeStep() {
      step += 1
      switch random.below(100) {
      case 0..<15: grant()
      case 15..<40: attach()
      case 40..<50: detach()
      case 50..<55: revoke()
      case 55..<65: renew()
      case 65..<75: now += UInt64(random.below(4_000_000_000))
      case 75..<80: takeExpired()
      case 80..<85: applyExpired()
      case 85..<88: checkpoint()
      case 88..<90: takeChanges()
      case 90..<92: changeLeader()
      case 92: hold()
      case 93: now += UInt64(random.below(500)) * NaiveLeases.second
      default: compare()
      }
    }

    mutating func grant() {
      let lease = someLease()
      let seconds = Int64(random.oneIn(4) ? 200 + random.below(2000) : 1 + random.below(20))
      index = index + 1
      guard lease != .none else {
        #expect(throws: LeaseError.notFound, place) {
          _ = try registry.grant(lease, seconds: seconds, at: index, now: now)
        }
        return
      }
      let isNew = model.grant(lease, seconds: seconds, at: index, now: now)
      do throws(LeaseError) {
        let granted = try registry.grant(lease, seconds: seconds, at: index, now: now)
        #expect(isNew && granted == model.leases[lease]?.stored, place)
      } catch {
        #expect(!isNew && error == .exists, place)
      }
    }

    /// As the store does it: off the old lease, on the new one.
    mutating func attach() {
      let key = someKey()
      let lease = someLease()
      let wasAttached = model.leaseOfKey[key] != nil
      #expect(registry.exists(lease) == (model.leases[lease] != nil), place)
      key.withUnsafeBytes { bytes in
        if wasAttached || random.oneIn(3) { registry.detach(bytes) }
        registry.attach(bytes, to: lease)
      }
      model.leaseOfKey[key] = model.leases[lease] != nil ? lease : nil
    }

    mutating func detach() {
      let key = someKey()
      key.withUnsafeBytes { registry.detach($0) }
      model.leaseOfKey[key] = nil
    }

    mutating func revoke() {
      let lease = someLease()
      let ended = registry.revoke(lease).map { keys in keys.withKeys { $0.map { Array($0) } } }
      #expect(ended == model.end(lease), place)
    }

    mutating func renew() {
      let lease = someLease()
      #expect(registry.renew(lease, now: now) == model.renew(lease, now: now), place)
    }

    mutating func takeExpired() {
      let leasesMax = 1 + random.below(10)
      let due = model.due(now: now, leasesMax: leasesMax)
      #expect(registry.hasDue(now: now) || due.isEmpty, place)
      let taken = registry.takeExpired(now: now, leasesMax: leasesMax, keysMax: .max)
      #expect(taken.map { model.leases[$0]?.expiry } == due, place)
      for lease in taken { model.leases[lease]?.isExpiring = true }
      handedOut += taken
    }

    /// The log ends what was handed out, or the proposal was refused.
    mutating func applyExpired() {
      if random.oneIn(3) {
        registry.giveBack(handedOut)
        for lease in handedOut { model.leases[lease]?.isExpiring = false }
      } else {
        let asOf = LogIndex(index.rawValue - UInt64(random.below(3)))
        for lease in handedOut {
          let isMeant = model.leases[lease].map { $0.stored.grantedAt <= asOf } ?? false
          let ended = registry.expire(lease, asOf: asOf).map { keys in
            keys.withKeys { $0.map { Array($0) } }
          }
          #expect(ended == (isMeant ? model.end(lease) : nil), place)
        }
      }
      handedOut = []
    }

    mutating func checkpoint() {
      if random.oneIn(2) {
        let taken = registry.takeCheckpoints(now: now, slotCount: 1 + random.below(60))
        for (lease, seconds) in taken {
          guard let known = model.leases[lease], known.expiry > now else {
            Issue.record("a checkpoint of \(lease)", sourceLocation: #_sourceLocation)
            continue
          }
          let left = (known.expiry - now + NaiveLeases.second - 1) / NaiveLeases.second
          #expect(seconds == Int64(left), place)
          #expect(!known.isExpiring && !known.isBeingCheckpointed && seconds > 300, place)
          model.leases[lease]?.isBeingCheckpointed = true
        }
        checkpoints += taken
      } else if random.oneIn(4) {
        registry.giveBack(checkpoints: checkpoints)
        for (lease, _) in checkpoints { model.leases[lease]?.isBeingCheckpointed = false }
        checkpoints = []
      } else {
        checkpoints.append((someLease(), Int64(random.below(3)) * 7))
        for (lease, seconds) in checkpoints {
          registry.checkpoint(lease, remainingSeconds: seconds)
          model.checkpoint(lease, seconds)
        }
        checkpoints = []
      }
    }

    mutating func takeChanges() {
      registry.takeChanges { grantedAt, new in stored[grantedAt] = new }
      let expected = model.leases.values.map { ($0.stored.grantedAt, $0.stored) }
      #expect(stored == Dictionary(uniqueKeysWithValues: expected), place)
      #expect(registry.changedCount == 0, place)
    }

    mutating func changeLeader() {
      if random.oneIn(2) {
        let longer = UInt64(random.below(3)) * NaiveLeases.second
        registry.promote(now: now, extensionNanoseconds: longer)
        model.promote(now: now, extensionNanoseconds: longer)
      } else {
        registry.demote()
        model.demote()
      }
      #expect(registry.isPrimary == model.isPrimary, place)
    }

    mutating func hold() {
      let until = now + UInt64(random.below(3_000_000_000))
      registry.hold(until: until)
      model.holdUntil = max(model.holdUntil, until)
    }

    mutating func compare() {
      #expect(registry.findFault() == nil, place)
      #expect(registry.count == model.leases.count, place)
      let lease = someLease()
      #expect(registry.keys(of: lease) == model.keys(of: lease), place)
      let key = someKey()
      let found = key.withUnsafeBytes { registry.lease(of: $0) }
      #expect(found == model.leaseOfKey[key] ?? .none, place)
      let known = model.leases[lease].flatMap { $0.isExpiring ? nil : $0 }
      let times = registry.times(of: lease, now: now)
      #expect((times == nil) == (known == nil), place)
      #expect(times?.keyCount == known.map { _ in model.keys(of: lease).count }, place)
      guard model.isPrimary else { return }
      let order = model.leases.values.sorted {
        $0.expiry != $1.expiry ? $0.expiry < $1.expiry : $0.stored.id < $1.stored.id
      }
      #expect(registry.all() == order.map(\.stored.id), place)
    }
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func agreesWithNaiveTable(seed: UInt64) {
    var run = Run(seed: seed)
    run.registry.promote(now: run.now, extensionNanoseconds: 0)
    run.model.promote(now: run.now, extensionNanoseconds: 0)
    for _ in 0..<3000 { run.takeStep() }
    run.takeChanges()
    run.compare()
  }
}

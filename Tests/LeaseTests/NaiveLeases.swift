import Base
import Lease

/// The leases by the simplest means.
struct NaiveLeases {
  struct Lease {
    var stored: StoredLease
    var expiry: UInt64 = 0
    var isExpiring = false
    var isBeingCheckpointed = false
  }

  var leases: [LeaseID: Lease] = [:]
  var leaseOfKey: [[UInt8]: LeaseID] = [:]
  var isPrimary = false
  var holdUntil: UInt64 = 0

  static let second: UInt64 = 1_000_000_000

  func keys(of lease: LeaseID) -> [[UInt8]] {
    leaseOfKey.filter { $0.value == lease }.keys.sorted { $0.lexicographicallyPrecedes($1) }
  }

  mutating func grant(_ id: LeaseID, seconds: Int64, at index: LogIndex, now: UInt64) -> Bool {
    guard leases[id] == nil else { return false }
    leases[id] = Lease(
      stored: StoredLease(id: id, grantedSeconds: seconds, grantedAt: index),
      expiry: now + UInt64(seconds) * Self.second
    )
    return true
  }

  /// Returns the keys, or nil for an unknown lease.
  mutating func end(_ id: LeaseID) -> [[UInt8]]? {
    guard leases.removeValue(forKey: id) != nil else { return nil }
    let keys = keys(of: id)
    for key in keys { leaseOfKey[key] = nil }
    return keys
  }

  mutating func renew(_ id: LeaseID, now: UInt64) -> LeaseRenewal {
    guard isPrimary else { return .notPrimary }
    guard let lease = leases[id], !lease.isExpiring else { return .unknown }
    if lease.stored.remainingSeconds > 0 || lease.isBeingCheckpointed { return .needsCheckpoint }
    let seconds = lease.stored.grantedSeconds
    leases[id]?.expiry = max(lease.expiry, now + UInt64(seconds) * Self.second)
    return .renewed(seconds: seconds)
  }

  mutating func promote(now: UInt64, extensionNanoseconds: UInt64) {
    isPrimary = true
    holdUntil = now
    for (id, lease) in leases {
      let left =
        lease.stored.remainingSeconds > 0
        ? lease.stored.remainingSeconds : lease.stored.grantedSeconds
      leases[id]?.expiry = now + extensionNanoseconds + UInt64(left) * Self.second
      leases[id]?.isExpiring = false
      leases[id]?.isBeingCheckpointed = false
    }
  }

  mutating func demote() {
    isPrimary = false
    for id in leases.keys {
      leases[id]?.isExpiring = false
      leases[id]?.isBeingCheckpointed = false
    }
  }

  /// The expiries of what is to be handed out, in order.
  func due(now: UInt64, leasesMax: Int) -> [UInt64] {
    guard isPrimary, now >= holdUntil else { return [] }
    let due = leases.values.filter { !$0.isExpiring && $0.expiry <= now }.map(\.expiry)
    return Array(due.sorted().prefix(leasesMax))
  }

  mutating func checkpoint(_ id: LeaseID, _ seconds: Int64) {
    guard let lease = leases[id] else { return }
    leases[id]?.isBeingCheckpointed = false
    leases[id]?.stored.remainingSeconds = seconds < lease.stored.grantedSeconds ? seconds : 0
  }
}

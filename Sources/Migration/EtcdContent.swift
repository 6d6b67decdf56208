import Base
import BoltFile
import Lease
import Membership
import Proto

/// What an etcd database holds beside the keys.
struct EtcdContent {
  /// The entry of etcd's log that was applied last, and its term; 0 where release 3.4 does not say.
  private(set) var consistentIndex: UInt64 = 0
  private(set) var term: UInt64 = 0
  /// -1 when there never was a compaction.
  private(set) var scheduledCompaction: Int64 = -1
  private(set) var finishedCompaction: Int64 = -1
  /// Of release 3.6 on.
  private(set) var storageVersion = ""
  private(set) var leases: [Leasepb.Lease] = []
  private(set) var isAuthEnabled = false
  private(set) var authRevision: UInt64 = 0
  private(set) var users: [Authpb.User] = []
  private(set) var roles: [Authpb.Role] = []
  private(set) var members: [Member] = []
  private(set) var alarmCount = 0
  /// Where the keys are.
  private(set) var keys: BoltBucket?

  /// An index or term above this is damage: there would be no room to count on.
  static let indexMax: UInt64 = 1 << 62
  /// The most leases, users, roles and members that are taken.
  static let recordsMax = 10_000_000

  private let path: String

  /// Throws `MigrationError.file` for what does not read back. `path` is for errors.
  init(reading file: BoltFile, path: String) throws {
    self.path = path
    var names: [String] = []
    var buckets: [(String, BoltBucket)] = []
    try file.forEachBucket { name, bucket in
      let name = String(decoding: name, as: UTF8.self)
      names.append(name)
      buckets.append((name, bucket))
    }
    guard names.contains(EtcdBucket.key), names.contains(EtcdBucket.meta) else {
      throw MigrationError.file(
        path: path,
        reason: "a bbolt file, but not one of etcd's: its buckets are \(names.sorted())"
      )
    }
    for (name, bucket) in buckets {
      if name == EtcdBucket.key {
        keys = bucket
        continue
      }
      var count = 0
      try file.forEach(in: bucket) { entry in
        count += 1
        guard count <= Self.recordsMax else { throw flaw(name, "has too many records") }
        if entry.isBucket { throw flaw(name, "has a bucket in it") }
        try read(name, entry)
      }
    }
    guard consistentIndex <= Self.indexMax, term <= Self.indexMax else {
      throw flaw(EtcdBucket.meta, "names entry \(consistentIndex) of term \(term)")
    }
  }

  private mutating func read(_ bucket: String, _ entry: BoltEntry) throws {
    switch bucket {
    case EtcdBucket.meta: try readMeta(String(decoding: entry.key, as: UTF8.self), entry.value)
    case EtcdBucket.lease: leases.append(try lease(entry))
    case EtcdBucket.auth:
      switch String(decoding: entry.key, as: UTF8.self) {
      case EtcdKey.authEnabled: isAuthEnabled = entry.value.first == 1
      case EtcdKey.authRevision:
        guard let number = etcdNumber(entry.value) else { throw flaw(bucket, "has no revision") }
        authRevision = number
      default: break
      }
    case EtcdBucket.authUsers:
      guard let user = try? Authpb.User(decoding: entry.value), user.name == Array(entry.key) else {
        throw flaw(bucket, "has a user that does not read back")
      }
      users.append(user)
    case EtcdBucket.authRoles:
      guard let role = try? Authpb.Role(decoding: entry.value), role.name == Array(entry.key) else {
        throw flaw(bucket, "has a role that does not read back")
      }
      roles.append(role)
    case EtcdBucket.members:
      guard let member = EtcdMember(entry.value)?.member, member.id != .none else {
        throw flaw(bucket, "has a member that does not read back")
      }
      members.append(member)
    case EtcdBucket.alarm: alarmCount += 1
    default: break
    }
  }

  private mutating func readMeta(_ key: String, _ value: UnsafeRawBufferPointer) throws {
    switch key {
    case EtcdKey.consistentIndex, EtcdKey.term:
      guard let number = etcdNumber(value) else { throw flaw(EtcdBucket.meta, "has a bad \(key)") }
      if key == EtcdKey.term { term = number } else { consistentIndex = number }
    case EtcdKey.scheduledCompaction, EtcdKey.finishedCompaction:
      guard let found = EtcdRevision(value) else {
        throw flaw(EtcdBucket.meta, "has a bad \(key)")
      }
      if key == EtcdKey.scheduledCompaction {
        scheduledCompaction = found.revision.main
      } else {
        finishedCompaction = found.revision.main
      }
    case EtcdKey.storageVersion: storageVersion = String(decoding: value, as: UTF8.self)
    default: break
    }
  }

  /// A lease with what etcd makes of odd ones when it starts.
  private func lease(_ entry: BoltEntry) throws -> Leasepb.Lease {
    guard var lease = try? Leasepb.Lease(decoding: entry.value), lease.id != 0,
      etcdNumber(entry.key) == UInt64(bitPattern: lease.id),
      lease.ttl <= LeaseRegistry.secondsMax
    else { throw flaw(EtcdBucket.lease, "has a lease that does not read back") }
    lease.ttl = max(lease.ttl, 1)
    lease.remainingTTL = min(max(lease.remainingTTL, 0), lease.ttl)
    return lease
  }

  private func flaw(_ bucket: String, _ reason: String) -> MigrationError {
    .file(path: path, reason: "damaged: bucket \(bucket) \(reason)")
  }
}

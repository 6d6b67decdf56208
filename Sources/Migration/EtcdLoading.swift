import Auth
import Base
import BoltFile
import Lease
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// Brings all that an etcd database holds into an empty store: keys with their history, leases, users
/// and roles. Alarms and downgrades stay behind, and the members are given.
struct EtcdLoading {
  /// See `MemberPlan`.
  var bumpsRevisionBy: UInt64 = 0
  var marksCompacted = false

  private let content: EtcdContent
  private let file: BoltFile
  private let path: String

  /// How many leases are written in one transaction.
  private static let leasesMax = 10_000

  /// What a store was made of.
  struct Loaded {
    /// The log's place that the store stands for.
    var mark: LogMark
    var state: StoredState
    var revisionCount: Int
    var auth: AuthState
  }

  /// `path` is for errors.
  init(_ content: EtcdContent, in file: BoltFile, path: String) {
    self.content = content
    self.file = file
    self.path = path
  }

  /// Throws `MigrationError`, `StorageError` or `BoltError`; the store is then of no use.
  func run(
    into base: LMDBStorage,
    members: MemberTable,
    _ report: @escaping ProgressReport
  ) throws -> Loaded {
    let auth = try self.auth()
    // Leases are told apart by the entry that granted them, so the log begins behind as many. It begins
    // at 1 at least, so that a member without this data must get a snapshot first.
    let mark = LogMark(
      index: LogIndex(max(content.consistentIndex, UInt64(content.leases.count), 1)),
      term: Term(max(content.term, 1)),
      confState: members.confState
    )
    var keys = EtcdKeys(of: content, in: file, path: path)
    try keys.load(into: TieredStorage(over: base), report)
    var state = keys.state
    guard state.advance(by: bumpsRevisionBy, compacts: marksCompacted) else {
      throw MigrationError.flags("--bump-revision: there are no revisions so far beyond")
    }
    try writeLeases(to: base)
    var metadata = StoredMetadata(applied: mark, members: members).encoded()
    metadata.append((StoredState.key, state.encoded()))
    if !auth.users.isEmpty || !auth.roles.isEmpty || auth.revision > AuthState.firstRevision {
      metadata.append((StoredMetadata.authKey, auth.encoded()))
    }
    try base.commit(RevisionBatch(metadata: metadata))
    return Loaded(mark: mark, state: state, revisionCount: keys.revisionCount, auth: auth)
  }

  private func auth() throws(MigrationError) -> AuthState {
    do throws(DecodeError) {
      return try AuthState(
        importing: content.users,
        roles: content.roles,
        isEnabled: content.isAuthEnabled,
        revision: content.authRevision
      )
    } catch {
      throw .file(path: path, reason: "users and roles contradict each other")
    }
  }

  private func writeLeases(to base: LMDBStorage) throws(StorageError) {
    var changes: MetadataChanges = []
    for (place, lease) in content.leases.enumerated() {
      let stored = StoredLease(
        id: LeaseID(lease.id),
        grantedSeconds: lease.ttl,
        remainingSeconds: lease.remainingTTL,
        grantedAt: LogIndex(UInt64(place + 1))
      )
      changes.append((LeaseRegistry.metadataKey(stored.grantedAt), stored.encoded()))
      if changes.count == Self.leasesMax {
        try base.commit(RevisionBatch(metadata: changes))
        changes = []
      }
    }
    try base.commit(RevisionBatch(metadata: changes))
  }
}

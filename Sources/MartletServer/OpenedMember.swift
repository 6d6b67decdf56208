import Base
import Lease
import Log
import Logging
import MVCC
import MemberFiles
import Membership
import Raft
import Replica
import Storage

/// A member's files, opened, and the replica that was made of them: everything before the first
/// thread starts.
struct OpenedMember {
  let directory: DataDirectory
  let store: Store
  let storage: TieredStorage
  /// What lies under `storage`.
  let base: LMDBStorage
  let log: SegmentedLog<PosixFileSystem>
  let machine: ReplicaMachine
  let identity: MemberIdentity

  /// `directory` is closed by the caller when this throws.
  init(
    _ configuration: ResolvedConfiguration,
    directory: DataDirectory,
    origin: MemberOrigin,
    loopCount: Int,
    logger: Logger
  ) throws {
    let source = configuration.source
    self.directory = directory
    if let new = origin.identity {
      try directory.writeIdentity(memberID: new.memberID, clusterID: new.clusterID)
    }
    guard
      let who = origin.identity ?? directory.identity.map({ ($0.memberID, $0.clusterID) })
    else { preconditionFailure("a member without data starts from none") }
    identity = MemberIdentity(
      clusterID: who.clusterID,
      memberID: who.memberID,
      epoch: UInt64.random(in: 1 ... .max)
    )
    if source.unsafeNoFsync {
      logger.critical(
        "--unsafe-no-fsync: acknowledged writes are LOST when this machine stops or crashes"
      )
    }
    var options = LMDBStorage.Options()
    if let quota = configuration.quotaBytes { options.mapBytes = max(quota * 4, options.mapBytes) }
    base = try LMDBStorage(
      path: directory.databaseFile,
      options: options
    )
    storage = TieredStorage(over: base)
    let leases = LeaseRegistry()
    try leases.restore(from: storage)
    store = try Store(storage: storage, leases: leases)
    let recovered: RecoveredLog
    (log, recovered) = try SegmentedLog.open(
      directory: directory.logPath,
      files: PosixFileSystem(isDurable: !source.unsafeNoFsync),
      configuration: LogConfiguration(),
      metadata: LogMetadata(clusterID: identity.clusterID, memberID: identity.memberID)
    )
    let stored = try Self.storedMetadata(
      base,
      isLogNew: recovered.isNew,
      origin: origin,
      directory: directory
    )
    guard !stored.members.isRemoved(identity.memberID) else { throw StartError.removed }
    var restored = try Self.restoredState(recovered, stored.applied, base, log)
    if source.forceNewCluster {
      try Self.forceNewCluster(identity.memberID, stored.members, &restored, log, logger)
    }
    machine = try ReplicaMachine(
      Self.replicaConfiguration(configuration, identity, loopCount: loopCount),
      store: store,
      tables: ReplicatedTables(reading: base, members: stored.members, leases: leases),
      restored: restored,
      appliedTerm: stored.applied.term,
      seed: UInt64.random(in: 0 ... .max)
    )
    logger.info(
      "opened the data directory",
      metadata: [
        "path": "\(configuration.dataDirectoryPath)", "revision": "\(store.currentRevision)",
        "applied": "\(stored.applied.index)", "entries": "\(recovered.entries.count)",
      ]
    )
  }

  /// What the store says of the log and the membership. A new store is told of the founding once the
  /// log is there, so that a log that gets lost later is missed.
  private static func storedMetadata(
    _ base: LMDBStorage,
    isLogNew: Bool,
    origin: MemberOrigin,
    directory: DataDirectory
  ) throws -> StoredMetadata {
    guard let stored = try StoredMetadata({ try base.metadata($0) }) else {
      guard let metadata = origin.metadata else {
        throw StartError.failed(
          isLogNew
            ? "the first start of this member was interrupted before it had any data; remove "
              + "\(directory.path) and start it again"
            : "the store's file in \(directory.databasePath) is gone, though the log in "
              + "\(directory.logPath) was used with one"
        )
      }
      try base.commit(RevisionBatch(metadata: metadata.encoded()))
      return metadata
    }
    guard !isLogNew else {
      throw StartError.failed(
        "the log in \(directory.logPath) is gone or lost its beginning, though the store was used "
          + "with one"
      )
    }
    return stored
  }

  /// Makes this member the only one, in the log, for good.
  private static func forceNewCluster(
    _ memberID: MemberID,
    _ members: MemberTable,
    _ restored: inout RestoredState,
    _ log: SegmentedLog<PosixFileSystem>,
    _ logger: Logger
  ) throws {
    let added: [Entry]
    do {
      added = try Recovery.forceNewCluster(of: memberID, members: members, &restored)
    } catch .notAMember {
      throw StartError.failed(
        "--force-new-cluster: member \(memberID) is not in the membership that its data knows"
      )
    } catch {
      throw StartError.failed("--force-new-cluster: \(error)")
    }
    guard !added.isEmpty else { return }
    logger.critical(
      "--force-new-cluster: this member goes on alone, the others are removed",
      metadata: ["member": "\(memberID)", "changes": "\(added.count)"]
    )
    let batch = LogBatch()
    for entry in added { ReplicaMachine.append(entry, to: batch) }
    batch.append(
      hardState: LogHardState(
        term: restored.hardState.term,
        vote: restored.hardState.vote,
        commit: restored.hardState.commit
      )
    )
    try log.append(batch)
    try log.sync()
  }

  /// What Raft starts from. When the process ended while a snapshot was being installed, the log is
  /// told of it here.
  private static func restoredState(
    _ recovered: RecoveredLog,
    _ applied: LogMark,
    _ base: LMDBStorage,
    _ log: SegmentedLog<PosixFileSystem>
  ) throws -> RestoredState {
    let installed = try base.metadata(StoredMetadata.installKey).map { bytes in
      try LogMark(decoding: bytes)
    }
    let (state, cutsLog) = try Recovery.restore(
      log: recovered,
      applied: applied,
      installed: installed
    )
    if cutsLog {
      try log.append(Recovery.logCut(state, applied: applied))
      try log.sync()
    }
    return state
  }

  private static func replicaConfiguration(
    _ configuration: ResolvedConfiguration,
    _ identity: MemberIdentity,
    loopCount: Int
  ) -> ReplicaConfiguration {
    let source = configuration.source
    var replica = ReplicaConfiguration(
      memberID: identity.memberID,
      epoch: identity.epoch,
      loopCount: loopCount,
      name: source.name,
      clientURLs: configuration.advertiseClientURLs.map(\.description)
    )
    replica.clusterVersion = Version.cluster
    replica.isReconfigurationStrict = source.strictReconfigCheck
    replica.promotesLearners = source.autoPromoteLearners
    replica.raft.preVote = source.preVote
    replica.raft.electionTimeoutTicks = max(
      2,
      Int(source.electionTimeout / source.heartbeatInterval)
    )
    replica.leaseExtensionNanoseconds = source.electionTimeout.wholeNanoseconds
    replica.ticksPerSecond = max(1, Int(.seconds(1) / source.heartbeatInterval))
    replica.patienceTicks = Int(
      ((Duration.seconds(5) + source.electionTimeout * 2) / source.heartbeatInterval).rounded()
    )
    if configuration.snapshotCount != ServerConfiguration.snapshotCountDefault {
      replica.unsealedEntriesMax = UInt64(configuration.snapshotCount)
    }
    replica.catchUpEntriesMax = UInt64(max(source.snapshotCatchUpEntries, 1))
    return replica
  }
}

/// Why a member did not start, where no part of it has a better word.
public enum StartError: Error, CustomStringConvertible, Sendable {
  case notAMember(name: String)
  case listen(address: String, reason: String)
  case failed(String)
  case notReady(seconds: Int)
  /// The cluster has removed this member; its data is of no use any more.
  case removed

  public var description: String {
    switch self {
    case .notAMember(let name): "--initial-cluster does not name this member, \(name)"
    case .listen(let address, let reason): "cannot listen on \(address): \(reason)"
    case .failed(let reason): reason
    case .removed:
      "the member has been permanently removed from the cluster; its data directory must be "
        + "removed before it can be added again"
    case .notReady(let seconds): "there was no leader within \(seconds) seconds"
    }
  }
}

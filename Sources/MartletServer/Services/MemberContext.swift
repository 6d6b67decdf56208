import Base
import Lease
import Logging
import MVCC
import Peer
import Replica
import Storage
import Synchronization

/// What every event loop of a member shares. All of it may be used from any thread.
final class MemberContext: Sendable {
  let identity: MemberIdentity
  let store: Store
  /// The files below `store`, for their sizes and upkeep.
  let storage: TieredStorage
  let leases: LeaseRegistry
  let status: PublishedStatus
  /// Users and roles.
  let auth: PublishedAuth
  let tokens: TokenProvider
  let passwords: PasswordHasher
  let gate: AdmissionGate
  let quota: StoreQuota
  let responses: ResponseBudget
  let readers: ReaderPool
  let replica: ReplicaThread
  /// The other members, as far as this one talks to them.
  let peers: PeerTransport
  let settings: Settings
  let logger: Logger
  let metrics: MemberMetrics
  let watchStatistics = WatchStatistics()
  private let stopping = Atomic<Bool>(false)

  /// The part of the configuration that services look at.
  struct Settings: Sendable {
    var requestBytesMax: Int
    var transactionOperationsMax: Int
    /// How long a proposal may go unanswered before its call ends with `request timed out`.
    var proposalTimeoutNanoseconds: UInt64
    var electionTimeoutNanoseconds: UInt64
    /// The shortest time to live of a lease; shorter ones are raised to it.
    var leaseSecondsMin: Int64
    /// As etcd reports it in Status: bytes, 0 for no limit.
    var quotaBytes: Int64
    /// Whether changes of the membership must leave a healthy cluster.
    var isReconfigurationStrict: Bool
    var learnersMax: Int
    /// After how much silence a watch that asked for it is told of progress.
    var watchProgressNotifyInterval: Duration
    var limits: OverloadLimits
    /// Where snapshots are put together before they are sent.
    var snapshotDirectory: String
  }

  init(
    identity: MemberIdentity,
    store: Store,
    storage: TieredStorage,
    leases: LeaseRegistry,
    status: PublishedStatus,
    auth: PublishedAuth,
    tokens: TokenProvider,
    passwords: PasswordHasher,
    gate: AdmissionGate,
    quota: StoreQuota,
    responses: ResponseBudget,
    readers: ReaderPool,
    replica: ReplicaThread,
    peers: PeerTransport,
    settings: Settings,
    metrics: MemberMetrics,
    logger: Logger
  ) {
    self.identity = identity
    self.store = store
    self.storage = storage
    self.leases = leases
    self.status = status
    self.auth = auth
    self.tokens = tokens
    self.passwords = passwords
    self.gate = gate
    self.quota = quota
    self.responses = responses
    self.readers = readers
    self.replica = replica
    self.peers = peers
    self.settings = settings
    self.metrics = metrics
    self.logger = logger
  }

  var clusterID: ClusterID { identity.clusterID }
  var memberID: MemberID { identity.memberID }
  var epoch: UInt64 { identity.epoch }

  /// The header of an answer made now.
  var header: ResponseHeader {
    ResponseHeader(clusterID: clusterID, memberID: memberID, raftTerm: status.raftTerm)
  }

  /// Whether the member is on its way down: the probes say so before it is.
  var isStopping: Bool { stopping.load(ordering: .relaxed) }

  func willStop() {
    stopping.store(true, ordering: .relaxed)
  }

  /// Calls back, on the housekeeper's thread, once everything applied so far is in the store's
  /// file, or with the reason why it is not.
  func whenFlushed(_ body: @escaping @Sendable (Result<Void, FlushError>) -> Void) {
    if !replica.post(.flushAll(body)) { body(.failure(.stopped)) }
  }
}

/// Why what was applied could not be written to the store's file.
enum FlushError: Error {
  case storage(StorageError)
  case stopped
}

/// Who this process is.
struct MemberIdentity: Sendable {
  var clusterID: ClusterID
  var memberID: MemberID
  /// See `ReplicaConfiguration.epoch`.
  var epoch: UInt64
}

import Base
import JSONGateway
import Log
import Logging
import MVCC
import MemberFiles
import Membership
import NIOCore
import NIOPosix
import Peer
import RPC
import Raft
import Replica
import Storage
import TLS

/// The threads and files of one running member, put together.
///
/// Files are opened from the bottom up, threads are started after them, and both are stopped the
/// other way round.
final class MemberRuntime: Sendable {
  let context: MemberContext
  private let directory: DataDirectory
  private let base: LMDBStorage
  private let loops: LoopTable
  private let fatal: FailureLatch
  private let reclaimer: SpaceReclaimer
  private let tls: ServerTLS?
  private let peerTLS: PeerTLS?
  private let questions = PeerQuestions()
  private let snapshots: SnapshotExchange
  private let hashChecker: HashChecker
  private let storeChecker: StoreChecker
  /// Locks and campaigns that wait.
  private let waiting = WaitingCalls()

  /// How many threads read for the event loops.
  private static let readerThreads = 2
  /// Hashing passwords may take this share of the processors: one thread for so many.
  private static let coresPerHashingThread = 4
  /// How often a member that waits for others says so.
  private static let readyComplaintSeconds = 10
  /// How often `waitUntilReady` looks.
  private static let readyPollMilliseconds = 2

  /// Opens the files and starts the threads. When it throws, `directory` is closed.
  init(
    _ configuration: ResolvedConfiguration,
    directory: DataDirectory,
    origin: MemberOrigin,
    peerTLS: PeerTLS?,
    tokens: TokenProvider,
    loopCount: Int,
    logger: Logger
  ) throws {
    let isAutomatic = configuration.security?.automatic != nil
    let filedTLS = isAutomatic ? nil : try configuration.makeTLS(logger: logger)
    let opened = try OpenedMember(
      configuration,
      directory: directory,
      origin: origin,
      loopCount: loopCount,
      logger: logger
    )
    do {
      // A certificate that is made here is kept in the directory, which is ours from here on.
      tls = isAutomatic ? try configuration.makeTLS(logger: logger) : filedTLS
    } catch {
      opened.base.close()
      throw error
    }
    let (store, storage, log) = (opened.store, opened.storage, opened.log)
    let status = PublishedStatus(members: opened.machine.members)
    let auth = PublishedAuth(opened.machine.auth)
    opened.machine.authChanged = { auth.publish($0) }
    opened.machine.loggedIn = { tokens.know($0, givenAt: $1) }
    let (loops, fatal, gate) = (
      LoopTable(), FailureLatch(),
      AdmissionGate(bytesMax: configuration.source.limits.proposalBytesMax)
    )
    let metrics = MemberMetrics()
    opened.machine.meter =
      ApplyReporter(
        metrics: metrics,
        logger: logger,
        warningNanoseconds: configuration.source.warningApplyDuration.wholeNanoseconds
      )
      .makeMeter()
    let mailbox = Mailbox<ReplicaThread.Input>()
    let snapshots = SnapshotExchange(opened, mailbox, logger: logger)
    let peers = PeerTransport(
      PeerConfiguration(
        clusterID: opened.identity.clusterID,
        memberID: opened.identity.memberID,
        serverVersion: Version.etcdCompatible,
        configuration.source
      ),
      handlers: Self.peerHandlers(mailbox, status: status, fatal: fatal, questions, snapshots),
      tls: peerTLS,
      httpHandler: questions,
      logger: logger
    )
    let replica = ReplicaThread(
      mailbox,
      machine: opened.machine,
      tickNanoseconds: configuration.source.heartbeatInterval.wholeNanoseconds,
      status: status,
      gate: gate,
      logger: logger,
      outlets: ReplicaThread.Outlets(
        answers: { loops.deliver($1, to: $0) },
        events: { loops.deliver($0) },
        installed: { loops.loseTouch() },
        reads: { loops.deliver(ready: $0, lost: $1) },
        proposals: { loops.deliver(notDone: $0, unknown: $1) },
        messages: { peers.send($0) },
        tookMessages: { peers.took(bytes: $0) },
        members: { peers.update(peers: $0.members.map(PeerAddress.init)) },
        noted: { metrics.note($0) },
        fatal: { fatal.fail($0) }
      ),
      makeLogWriter: { LogWriter(log: log, metrics: metrics, report: $0) },
      makeHousekeeper: { Housekeeper(store: store, storage: storage, metrics: metrics, report: $0) }
    )
    self.directory = directory
    self.peerTLS = peerTLS
    base = opened.base
    self.loops = loops
    self.fatal = fatal
    reclaimer = SpaceReclaimer(
      storage: storage,
      directory: opened.directory.databasePath,
      metrics: metrics,
      logger: logger
    )
    context = MemberContext(
      identity: opened.identity,
      store: store,
      storage: storage,
      leases: opened.machine.leases,
      status: status,
      auth: auth,
      tokens: tokens,
      passwords: PasswordHasher(
        cost: configuration.source.bcryptCost,
        threadCount: max(1, System.coreCount / Self.coresPerHashingThread)
      ),
      gate: gate,
      quota: StoreQuota(bytesMax: configuration.quotaBytes, storage: storage),
      responses: ResponseBudget(bytesMax: configuration.source.limits.responseBytesMax),
      readers: ReaderPool(
        store: store,
        threadCount: Self.readerThreads,
        waitingMax: configuration.source.limits.readerJobsMax
      ),
      replica: replica,
      peers: peers,
      settings: MemberContext.Settings(
        requestBytesMax: configuration.source.maxRequestBytes,
        transactionOperationsMax: configuration.source.maxTxnOps,
        proposalTimeoutNanoseconds: Self.proposalTimeout(configuration.source),
        electionTimeoutNanoseconds: configuration.source.electionTimeout.wholeNanoseconds,
        leaseSecondsMin: Self.leaseSecondsMin(configuration.source),
        quotaBytes: Int64(configuration.quotaBytes ?? 0),
        isReconfigurationStrict: configuration.source.strictReconfigCheck,
        learnersMax: configuration.source.maxLearners,
        watchProgressNotifyInterval: configuration.source.watchProgressNotifyInterval,
        limits: configuration.source.limits,
        snapshotDirectory: opened.directory.databasePath
      ),
      metrics: metrics,
      logger: logger
    )
    self.snapshots = snapshots
    snapshots.start(opened, peers)
    hashChecker = HashChecker(context)
    let hasher = StoreHasher(store: store, readers: context.readers, metrics: metrics)
    questions.install(hasher)
    storeChecker = StoreChecker(context, hasher: hasher, StoreChecker.Plan(configuration.source))
  }

  /// Looks at the files of TLS for changes, until the task is cancelled.
  func watchTLSFiles() async {
    async let peers: Void? = peerTLS?.watchFiles()
    await tls?.watchFiles()
    _ = await peers
  }

  /// As a leader, sees to the cluster's version, until the task is cancelled.
  func watchClusterVersion() async {
    await ClusterVersionMonitor(member: context).run()
  }

  /// Registers the services on every event loop and binds the client addresses. Returns the
  /// server and what was bound.
  func serve(
    on group: MultiThreadedEventLoopGroup,
    _ configuration: ResolvedConfiguration,
    health: HealthStatus,
    levelControl: LogLevelControl?
  ) async throws -> (server: RPCServer, bound: ClientListeners.Bound) {
    let endpoints = OperatorEndpoints(
      member: context,
      metrics: MetricsPage(
        registry: context.metrics.registry,
        collector: MemberCollector(member: context, base: base, loops: loops)
      ),
      logLevel: levelControl.map { LogLevelEndpoint(control: $0, logger: context.logger) }
    )
    let clientPort = ClientPort(endpoints)
    let server = RPCServer(
      group: group,
      configuration: Self.serverConfiguration(configuration.source),
      httpHandler: AccessControl(
        clientPort,
        origins: configuration.source.cors,
        hosts: configuration.source.hostWhitelist
      )
    ) { [logger = context.logger] reason in
      logger.warning("client connections are refused", metadata: ["reason": "\(reason)"])
    }
    let loopback = server.loops.map { RPCClient(attachedTo: server, on: $0) }
    if configuration.source.enableGRPCGateway {
      clientPort.serve(Gateway(services: ClientPort.services, clients: loopback))
    }
    loops.install(
      server.loops.enumerated().map { number, calls in
        RequestLoop(number: number, shared: context, calls: calls)
      }
    )
    let watch = CallWatch(configuration.source, logger: context.logger)
    for (loop, client) in zip(loops.all, loopback) {
      try await loop.eventLoop.submit { [waiting] in
        Self.register(loop, health)
        Self.registerRecipes(loop, client, waiting)
        loop.calls.observe(watch.observation())
      }.get()
    }
    questions.install(PeerPort(member: context, endpoints: endpoints))
    let peerAddresses = try await listenForPeers(configuration)
    try await waitUntilReady(seconds: EmbeddedMember.readySecondsMax)
    if FeatureGates.isOn(
      FeatureGates.initialCorruptCheck,
      in: configuration.source.featureGates
    ) {
      try await hashChecker.checkBeforeServing()
      try await storeChecker.checkBeforeServing()
    }
    for warning in configuration.transportSecurityWarnings {
      context.logger.warning("\(warning)")
    }
    let listeners = ClientListeners(
      server: server,
      configuration: configuration,
      tls: tls,
      metricsHandler: endpoints
    )
    var bound = try await listeners.bind()
    bound.peers = peerAddresses
    return (server, bound)
  }

  /// As etcd has it: five seconds for disk and peers, and two elections.
  private static func proposalTimeout(_ source: ServerConfiguration) -> UInt64 {
    5_000_000_000 + 2 * source.electionTimeout.wholeNanoseconds
  }

  /// An election and a half, in whole seconds: no lease may end while there is no leader who could
  /// hear of its renewal.
  private static func leaseSecondsMin(_ source: ServerConfiguration) -> Int64 {
    let nanoseconds = source.electionTimeout.wholeNanoseconds * 3 / 2
    return max(1, Int64((nanoseconds + 999_999_999) / 1_000_000_000))
  }

  /// The services of one event loop, on that loop.
  private static func register(_ loop: RequestLoop, _ health: HealthStatus) {
    let calls = loop.calls
    calls.register(KVDispatcher(KeyValueService(loop: loop)))
    calls.register(LeaseDispatcher(LeaseKeepingService(loop: loop)))
    calls.register(WatchDispatcher(loop.makeWatches()))
    calls.register(ClusterDispatcher(ClusterMemberService(loop: loop)))
    calls.register(AuthDispatcher(AccountService(loop: loop)))
    calls.register(MaintenanceDispatcher(StoreMaintenanceService(loop: loop)))
    HealthResponder.register(on: calls, health)
    Reflection.register(on: calls)
    loop.start()
  }

  /// The services that call others of the member, on the loop.
  private static func registerRecipes(
    _ loop: RequestLoop,
    _ client: RPCClient,
    _ waiting: WaitingCalls
  ) {
    let lock = QueueLockService(loop: loop, client: client, waiting: waiting)
    loop.calls.register(LockDispatcher(lock))
    let election = QueueElectionService(loop: loop, client: client, waiting: waiting)
    loop.calls.register(ElectionDispatcher(election))
  }

  private static func serverConfiguration(_ source: ServerConfiguration) -> RPCServerConfiguration {
    var configuration = RPCServerConfiguration()
    configuration.messageBytesMax = source.maxRequestBytes + EmbeddedMember.requestOverheadBytes
    // As JSON, the bytes of a message are base64.
    configuration.httpBodyBytesMax =
      configuration.messageBytesMax / 3 * 4 + EmbeddedMember.requestOverheadBytes
    configuration.concurrentStreamsMax = UInt32(
      min(source.maxConcurrentStreams, Int(configuration.concurrentStreamsMax))
    )
    configuration.bufferedBytesPerConnectionMax = source.limits.connectionBufferedBytesMax
    configuration.keepaliveMinTime = TimeAmount(source.grpcKeepAliveMinTime)
    configuration.keepaliveInterval = Self.timeAmount(source.grpcKeepAliveInterval)
    configuration.keepaliveTimeout = Self.timeAmount(source.grpcKeepAliveTimeout)
    return configuration
  }

  /// The flags' 0 means never; a year of silence is as good.
  private static func timeAmount(_ duration: Duration) -> TimeAmount {
    duration == .zero ? .hours(24 * 365) : TimeAmount(duration)
  }

  /// Suspends until there is a leader and this member has published itself. With others it waits for
  /// them, however long they take; alone, no longer than `seconds`.
  private func waitUntilReady(seconds: Int) async throws {
    let checksPerSecond = 1000 / Self.readyPollMilliseconds
    var checks = 0
    while true {
      let members = context.status.memberList
      if context.status.hasLeader, let own = members[context.memberID] {
        // Founders are named from the start; that others know where clients reach it is news.
        if members.members.count > 1 ? !own.clientURLs.isEmpty : own.isStarted { return }
      }
      checks += 1
      if checks % (seconds * checksPerSecond) == 0 {
        guard members.members.count > 1 else { throw StartError.notReady(seconds: seconds) }
      }
      if checks % (Self.readyComplaintSeconds * checksPerSecond) == 0 {
        context.logger.warning(
          "not ready: this member waits for others",
          metadata: [
            "leader": "\(context.status.current.leader)",
            "members": "\(members.members.map { "\($0.id)" }.joined(separator: ","))",
          ]
        )
      }
      if let reason = fatal.reason {
        if isRemoved { throw StartError.removed }
        throw StartError.failed(reason)
      }
      try await Task.sleep(for: .milliseconds(Self.readyPollMilliseconds))
    }
  }

  /// Ends what waits in tasks, while it can still clean up behind itself.
  func endWaitingCalls() async {
    await waiting.stop()
  }

  /// See `EmbeddedMember.isRemoved`.
  var isRemoved: Bool {
    context.status.memberList.isRemoved(context.memberID)
      || fatal.reason == StartError.removed.description
  }

  /// See `EmbeddedMember.failure`.
  func failure() async -> String? {
    await fatal.wait()
  }

  /// Writes what was applied to the store's file, so that a restart need not replay it.
  func flush() async {
    await withCheckedContinuation { continuation in
      context.whenFlushed { [logger = context.logger] result in
        if case .failure(let error) = result {
          logger.warning("not all is flushed; the log has it", metadata: ["cause": "\(error)"])
        }
        continuation.resume()
      }
    }
  }

  /// Has the log say what is left of each lease, if this member leads, so that the next leader, or this
  /// member when it starts again, does not give them all of their time anew. Waits no longer than a
  /// stop can bear.
  func checkpointLeases() async {
    let index = await withCheckedContinuation { continuation in
      let isPosted = context.replica.post(
        .look { continuation.resume(returning: $0?.checkpointAllLeases()) }
      )
      if !isPosted { continuation.resume(returning: nil) }
    }
    guard let index else { return }
    let deadline = MonotonicTime.now.advanced(byNanoseconds: Self.checkpointNanosecondsMax)
    while context.status.current.applied < index, context.status.current.role == .leader,
      MonotonicTime.now < deadline
    {
      try? await Task.sleep(for: .milliseconds(Self.readyPollMilliseconds))
    }
  }

  private static let checkpointNanosecondsMax: UInt64 = 2_000_000_000

  /// Gives leadership to another voter, if this member has it and there is one: the others then need
  /// not miss it first.
  func handOverLeadership() async {
    for _ in 0..<Self.handOversMax {
      let status = context.status.current
      guard status.role == .leader, !status.readsAreLocal else { return }
      let outcome = await context.handOverLeadership()
      context.logger.notice(
        "leadership handed over",
        metadata: ["outcome": "\(outcome)", "leader": "\(context.status.current.leader)"]
      )
      if case .done = outcome { return }
    }
  }

  /// How often `handOverLeadership` tries; each takes an election timeout at most.
  private static let handOversMax = 3

  /// Ends watch streams, which a drain would wait for in vain.
  func endWatches() {
    loops.endWatches()
  }

  /// Ends the connections with peers.
  func stopPeers() async {
    // What is under way ends with the connections.
    async let checking: Void = hashChecker.stop()
    async let comparing: Void = storeChecker.stop()
    async let sending: Void = snapshots.stopSending()
    await context.peers.stop()
    questions.remove()
    _ = await (checking, comparing, sending)
    snapshots.stopReceiving()
  }

  /// Stops the threads, waiting for what they have begun, and lets the data directory go.
  func stop() {
    reclaimer.stop()
    context.passwords.stop()
    context.readers.stop()
    context.replica.stop()
    loops.removeAll()
    base.close()
    directory.close()
  }
}

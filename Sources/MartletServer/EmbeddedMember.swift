public import Logging
import MemberFiles
import NIOCore
import NIOPosix
import Proto
import RPC
import Synchronization

/// A member that runs in this process: what `martlet` starts, and what a Swift program's tests may
/// embed.
///
///     var configuration = ServerConfiguration()
///     configuration.dataDirectory = temporaryDirectory
///     configuration.listenClientURLs = ["http://127.0.0.1:0"]
///     let member = try await EmbeddedMember.start(configuration, logger: logger)
///     // ... member.clientAddresses ...
///     await member.stop()
///
/// A member that cannot go on (its disk failed) says so by `failure`; `stop` it then as well.
public final class EmbeddedMember: Sendable {
  private let runtime: MemberRuntime
  private let server: RPCServer
  private let group: MultiThreadedEventLoopGroup
  private let compaction: AutoCompaction?
  private let health: HealthStatus
  private let isStopped = Atomic<Bool>(false)
  private let logger: Logger

  /// Where clients reach the member: what was bound, so that a configured port 0 is the one that
  /// the system chose. As `127.0.0.1:2379`.
  public let clientAddresses: [String]
  /// The same of the addresses that serve only plain HTTP, and only metrics and health checks.
  public let clientHTTPAddresses: [String]
  public let metricsAddresses: [String]
  /// Where other members reach this one.
  public let peerAddresses: [String]
  /// Looks for changes of the files of TLS.
  private let tlsWatch: Task<Void, Never>
  private let versionWatch: Task<Void, Never>

  /// How long `stop` waits for calls under way.
  public static let drainSeconds: Int64 = 5
  /// How long `start` waits for a leader.
  static let readySecondsMax = 60
  /// What the transport takes beyond `maxRequestBytes` before it refuses a message unread.
  static let requestOverheadBytes = 512 << 10

  private init(
    runtime: MemberRuntime,
    server: RPCServer,
    group: MultiThreadedEventLoopGroup,
    bound: ClientListeners.Bound,
    compaction: AutoCompaction?,
    health: HealthStatus,
    logger: Logger
  ) {
    self.runtime = runtime
    self.server = server
    self.group = group
    clientAddresses = bound.client
    clientHTTPAddresses = bound.http
    metricsAddresses = bound.metrics
    peerAddresses = bound.peers
    tlsWatch = Task { await runtime.watchTLSFiles() }
    versionWatch = Task { await runtime.watchClusterVersion() }
    self.compaction = compaction
    self.health = health
    self.logger = logger
  }

  /// Opens or makes the data directory, replays the log, and serves clients.
  ///
  /// Throws `ConfigurationError`, or an error whose description says what is wrong and where.
  public static func start(
    _ configuration: ServerConfiguration,
    logger: Logger
  ) async throws -> EmbeddedMember {
    try await start(configuration, logger: logger, levelControl: nil)
  }

  /// As above; with `levelControl`, which `logger` goes by, the level of the log can be changed over
  /// HTTP.
  package static func start(
    _ configuration: ServerConfiguration,
    logger: Logger,
    levelControl: LogLevelControl?
  ) async throws -> EmbeddedMember {
    let resolved = try configuration.resolve()
    let tokens = try await TokenProvider(configuration)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: eventLoopCount)
    do {
      let runtime = try await makeRuntime(resolved, tokens: tokens, logger: logger)
      do {
        let health = HealthStatus()
        let (server, bound) = try await runtime.serve(
          on: group,
          resolved,
          health: health,
          levelControl: levelControl
        )
        health.setAll(.serving)
        let context = runtime.context
        logger.notice(
          "serving clients",
          metadata: StartLine.fields(resolved, context, bound: bound)
        )
        return EmbeddedMember(
          runtime: runtime,
          server: server,
          group: group,
          bound: bound,
          compaction: resolved.compaction.map { AutoCompaction($0, member: context) },
          health: health,
          logger: logger
        )
      } catch {
        await runtime.stopPeers()
        runtime.stop()
        throw error
      }
    } catch {
      try? await group.shutdownGracefully()
      throw error
    }
  }

  /// Opens the data directory and decides what a member without data starts as.
  private static func makeRuntime(
    _ resolved: ResolvedConfiguration,
    tokens: TokenProvider,
    logger: Logger
  ) async throws -> MemberRuntime {
    let logPath = resolved.source.logDirectory
    let directory = try DataDirectory(
      path: resolved.dataDirectoryPath,
      logPath: logPath.isEmpty ? nil : logPath
    )
    do {
      // A certificate that is made here is kept in the directory, which is ours from here on.
      let peerTLS = try resolved.makePeerTLS(logger: logger)
      let bootstrap = Bootstrap(configuration: resolved, tls: peerTLS, logger: logger)
      return try MemberRuntime(
        resolved,
        directory: directory,
        origin: try await bootstrap.origin(for: directory),
        peerTLS: peerTLS,
        tokens: tokens,
        loopCount: eventLoopCount,
        logger: logger
      )
    } catch {
      directory.close()
      throw error
    }
  }

  /// One event loop for each two processors: the replica, the log writer and the flusher need
  /// theirs too.
  private static var eventLoopCount: Int { max(1, System.coreCount / 2) }

  /// Whether the cluster has removed this member: then it ends by `failure`, and must not be started
  /// again.
  public var isRemoved: Bool { runtime.isRemoved }

  /// Suspends until the member can't go on; returns why, or nil when the task is cancelled.
  public func failure() async -> String? {
    await runtime.failure()
  }

  /// Stops taking calls, lets those under way finish, writes what is in memory, and closes.
  /// Calling it again does nothing.
  public func stop() async {
    guard !isStopped.exchange(true, ordering: .relaxed) else { return }
    logger.notice("stopping")
    tlsWatch.cancel()
    versionWatch.cancel()
    runtime.context.willStop()
    health.setAll(.notServing)
    compaction?.cancel()
    await runtime.checkpointLeases()
    await runtime.handOverLeadership()
    await runtime.endWaitingCalls()
    runtime.endWatches()
    await server.drain(timeout: .seconds(Self.drainSeconds))
    await runtime.flush()
    await runtime.stopPeers()
    runtime.stop()
    try? await group.shutdownGracefully()
    logger.notice("stopped")
  }
}

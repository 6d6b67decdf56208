import Base
public import Logging
import Membership
import NIOPosix
import RPC
import Synchronization

/// A member that runs in this process: what `martlet` starts, and what a Swift program's tests may
/// embed.
///
/// `start` returns when the member leads or follows a leader and serves its clients. `stop` lets
/// what runs finish. A member that cannot go on (its disk failed) ends by itself: see `failure`.
public final class EmbeddedMember: Sendable {
  private let runtime: MemberRuntime
  private let server: RPCServer
  private let group: MultiThreadedEventLoopGroup
  private let autoCompaction: AutoCompactionTask?
  private let isStopped = Atomic<Bool>(false)
  private let logger: Logger

  /// Where clients reach the member: the bound addresses, so that a configured port 0 is the one
  /// that the system chose. As `127.0.0.1:2379`.
  public let clientAddresses: [String]

  /// How long `stop` waits for calls under way.
  public static let drainSeconds: Int64 = 5
  /// How long `start` waits for a leader.
  private static let readySecondsMax = 60

  private init(
    runtime: MemberRuntime, server: RPCServer, group: MultiThreadedEventLoopGroup,
    clientAddresses: [String], autoCompaction: AutoCompactionTask?, logger: Logger
  ) {
    self.runtime = runtime
    self.server = server
    self.group = group
    self.clientAddresses = clientAddresses
    self.autoCompaction = autoCompaction
    self.logger = logger
  }

  /// Opens or makes the data directory, replays the log, and serves clients.
  ///
  /// Throws `StartError`, whose description says what is wrong and where.
  public static func start(
    _ configuration: ServerConfiguration, logger: Logger
  ) async throws -> EmbeddedMember {
    let loopCount = EventLoopCount.default
    let group = MultiThreadedEventLoopGroup(numberOfThreads: loopCount)
    do {
      let runtime = try MemberRuntime(configuration, loopCount: loopCount, logger: logger)
      do {
        let server = try await runtime.serve(on: group, configuration)
        try await runtime.waitUntilReady(seconds: readySecondsMax)
        let addresses = server.localAddresses
        let compaction = AutoCompactionTask(configuration, member: runtime.context)
        logger.notice(
          "serving clients",
          metadata: [
            "version": "\(Version.martlet)", "name": "\(configuration.name)",
            "member": "\(runtime.context.memberID)", "cluster": "\(runtime.context.clusterID)",
            "addresses": "\(addresses.joined(separator: ","))",
          ])
        return EmbeddedMember(
          runtime: runtime, server: server, group: group, clientAddresses: addresses,
          autoCompaction: compaction, logger: logger)
      } catch {
        runtime.stop()
        throw error
      }
    } catch {
      try? await group.shutdownGracefully()
      throw error
    }
  }

  /// Suspends until the member can't go on; returns why. Does not return for a member that is
  /// stopped by `stop`, except by cancellation (nil).
  public func failure() async -> String? {
    await runtime.failure()
  }

  /// Stops taking calls, lets those under way finish, writes what is in memory, and closes.
  /// Calling it again does nothing.
  public func stop() async {
    guard isStopped.exchange(true, ordering: .relaxed) == false else { return }
    logger.notice("stopping")
    autoCompaction?.cancel()
    runtime.context.willStop()
    await server.shutdown(drainSeconds: Self.drainSeconds)
    await runtime.flush()
    runtime.stop()
    try? await group.shutdownGracefully()
    logger.notice("stopped")
  }
}

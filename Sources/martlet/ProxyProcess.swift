import GRPCProxy
import Glibc
import Logging
import MartletServer
import NIOPosix
import Sockets

/// A proxy of the API as a process, ended by a signal.
enum ProxyProcess {
  /// Runs until a signal; returns the exit code: 0 after one, 1 when the proxy cannot start.
  static func run(_ plan: ProxyPlan) async -> Int32 {
    signal(SIGPIPE, SIG_IGN)
    OpenFiles.raiseLimit()
    let signals = ShutdownSignals()
    do {
      let level: Logger.Level = plan.isDebug ? .debug : .info
      let (logger, _) = try ServerLogHandler.logger(
        label: "martlet-grpc-proxy",
        settings: LogSettings(level: level, format: .json, outputs: [.standardError])
      )
      let proxy = try await plan.start(
        group: MultiThreadedEventLoopGroup.singleton,
        logger: logger
      )
      let manager = ServiceNotifier(environment: ProcessEnvironment.variables)
      manager.tell(.ready)
      signals.beginDraining()
      _ = await signals.first()
      manager.tell(.stopping)
      await proxy.stop()
      return 0
    } catch {
      printError("martlet grpc-proxy: \(error)")
      return 1
    }
  }
}

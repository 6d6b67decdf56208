import Gateway
import Glibc
import Logging
import MartletServer
import NIOPosix
import Sockets

/// A gateway as a process, ended by a signal.
enum GatewayProcess {
  /// Runs until a signal; returns the exit code: 0 after one, 1 when the gateway cannot start.
  static func run(_ plan: GatewayPlan) async -> Int32 {
    signal(SIGPIPE, SIG_IGN)
    OpenFiles.raiseLimit()
    let signals = ShutdownSignals()
    do {
      let (logger, _) = try ServerLogHandler.logger(
        label: "martlet-gateway",
        settings: LogSettings(level: .info, format: .json, outputs: [.standardError])
      )
      let gateway = TCPGateway(
        configuration: try await plan.resolve(logger: logger),
        group: MultiThreadedEventLoopGroup.singleton,
        logger: logger
      )
      try await gateway.start()
      let manager = ServiceNotifier(environment: ProcessEnvironment.variables)
      manager.tell(.ready)
      signals.beginDraining()
      _ = await signals.first()
      manager.tell(.stopping)
      await gateway.drain()
      return 0
    } catch {
      printError("martlet gateway: \(error)")
      return 1
    }
  }
}

import Glibc
import Logging
import MartletServer
import Sockets

/// A member as a process: started by its configuration, ended by a signal or by its own failure.
enum ServerProcess {
  private enum End: Sendable {
    case signal(Int32)
    case failed(String)
  }

  private struct Failure: Sendable {
    var reason: String
    /// Whether the cluster has removed the member.
    var isRemoval: Bool
  }

  /// Runs until a signal or a failure; returns the exit code: 0 after a signal, 1 after a failure.
  /// A member that was removed from its cluster ends with 0, as etcd's do: starting it again would
  /// not help.
  static func run(_ loaded: LoadedConfiguration) async -> Int32 {
    signal(SIGPIPE, SIG_IGN)
    OpenFiles.raiseLimit()
    let signals = ShutdownSignals()
    do {
      let settings = try loaded.configuration.resolve().logSettings
      let (logger, control) = try ServerLogHandler.logger(label: "martlet", settings: settings)
      MetricsBackend.bootstrap()
      for notice in loaded.notices {
        logger.warning("\(notice.message)", metadata: ["setting": .string(notice.setting)])
      }
      guard let failure = await run(loaded.configuration, signals, logger, control) else {
        return 0
      }
      if !settings.outputs.contains(.standardError) { printError("martlet: \(failure.reason)") }
      return failure.isRemoval ? 0 : 1
    } catch {
      printError("martlet: \(error)")
      return 1
    }
  }

  /// Returns why the member failed, or nothing after an orderly end.
  private static func run(
    _ configuration: ServerConfiguration,
    _ signals: ShutdownSignals,
    _ logger: Logger,
    _ control: LogLevelControl
  ) async -> Failure? {
    let member: EmbeddedMember
    do {
      member = try await EmbeddedMember.start(
        configuration,
        logger: logger,
        levelControl: control
      )
    } catch {
      logger.critical("the member cannot start", metadata: ["error": .string("\(error)")])
      var isRemoval = false
      if case .removed? = error as? StartError { isRemoval = true }
      return Failure(reason: "\(error)", isRemoval: isRemoval)
    }
    let manager = ServiceNotifier(environment: ProcessEnvironment.variables)
    manager.tell(.ready)
    signals.beginDraining()
    let end = await withTaskGroup(of: End?.self, returning: End?.self) { group in
      group.addTask { await signals.first().map(End.signal) }
      group.addTask { await member.failure().map(End.failed) }
      let first = await group.next()
      group.cancelAll()
      return first ?? nil
    }
    if case .signal(let number) = end {
      logger.info("a signal ends the member", metadata: ["signal": .stringConvertible(number)])
    }
    manager.tell(.stopping)
    await member.stop()
    guard case .failed(let reason) = end else { return nil }
    logger.critical("the member failed", metadata: ["error": .string(reason)])
    return Failure(reason: reason, isRemoval: member.isRemoved)
  }
}

/// Writes a line to standard error.
func printError(_ text: String) {
  let bytes = Array((text + "\n").utf8)
  _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// The variables that the process was started with.
enum ProcessEnvironment {
  static var variables: [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let pointer = entry.pointee {
      let parts = String(cString: pointer)
        .split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2 { result[String(parts[0])] = String(parts[1]) }
      entry += 1
    }
    return result
  }
}

import Logging

/// What `--debug` writes to the standard error.
enum DebugLog {
  static let logger: Logger = {
    var logger = Logger(label: "martletctl", factory: { StreamLogHandler.standardError(label: $0) })
    logger.logLevel = .trace
    return logger
  }()
}

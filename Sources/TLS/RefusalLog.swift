import Logging
import NIOCore
import Synchronization

/// Says in the log which connections were refused, at most so many a second: who may connect at
/// all could fill the disk otherwise.
final class RefusalLog: Sendable {
  static let linesPerSecondMax = 10

  private struct State {
    var second: UInt64 = 0
    var lines = 0
    var suppressed = 0
  }

  private let logger: Logger
  private let state = Mutex(State())

  init(_ logger: Logger) {
    self.logger = logger
  }

  func refused(_ channel: any Channel, _ reason: String) {
    let second = NIODeadline.now().uptimeNanoseconds / 1_000_000_000
    let suppressed: Int? = state.withLock { state in
      if state.second != second {
        state.second = second
        state.lines = 0
      }
      guard state.lines < Self.linesPerSecondMax else {
        state.suppressed += 1
        return nil
      }
      state.lines += 1
      defer { state.suppressed = 0 }
      return state.suppressed
    }
    guard let suppressed else { return }
    logger.info(
      "TLS connection refused",
      metadata: [
        "peer": "\(Self.peer(channel))", "cause": "\(reason)",
        "unsaid": "\(suppressed)",
      ]
    )
  }

  func departed(_ channel: any Channel) {
    logger.debug(
      "connection closed before its TLS handshake was done",
      metadata: ["peer": "\(Self.peer(channel))"]
    )
  }

  private static func peer(_ channel: any Channel) -> String {
    guard let address = channel.remoteAddress, let ip = address.ipAddress, let port = address.port
    else { return "unknown" }
    return ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
  }
}

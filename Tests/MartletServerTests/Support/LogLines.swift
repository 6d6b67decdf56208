import Logging
import Synchronization

/// A log that a test reads: `level message key=value ...`, keys sorted.
final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])

  var all: [String] { lines.withLock { $0 } }

  func containing(_ text: String) -> [String] { all.filter { $0.contains(text) } }

  var logger: Logger {
    Logger(label: "test") { _ in Handler(lines: self) }
  }

  private struct Handler: LogHandler {
    let lines: LogLines
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0)=\($1)" }
      let line = (["\(event.level)", "\(event.message)"] + fields).joined(separator: " ")
      lines.lines.withLock { $0.append(line) }
    }
  }
}

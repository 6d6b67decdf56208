import Logging
import Synchronization

/// Keeps what is logged, as `level message key=value`.
final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])

  var all: [String] { lines.withLock { $0 } }

  func count(_ part: String) -> Int { all.filter { $0.contains(part) }.count }

  var logger: Logger {
    Logger(label: "test") { _ in Handler(lines: self) }
  }

  private struct Handler: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let values = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.sorted()
      let line = "\(event.level) \(event.message) \(values.joined(separator: " "))"
      lines.lines.withLock { $0.append(line) }
    }
  }
}

package import Logging
package import NIOCore
import Synchronization

/// The TLS of connections that a member makes over its whole life: as `ClientTLS`, with files that may
/// change at any time. New connections use what the last look found; files that are no good change
/// nothing.
///
/// Thread-safe.
package final class DialingTLS: Sendable {
  private struct State {
    var tls: ClientTLS
    /// Of the files that `tls` was made of, or that were found to be no good.
    var stamps: [FileStamp]
  }

  private let settings: ClientTLSSettings
  private let logger: Logger
  private let state: Mutex<State>

  /// Reads the files. Throws what is wrong with them.
  package init(_ settings: ClientTLSSettings, logger: Logger) throws(TLSError) {
    let stamps = Self.stamps(settings)
    let tls = try ClientTLS(settings)
    self.settings = settings
    self.logger = logger
    state = Mutex(State(tls: tls, stamps: stamps))
  }

  private static func stamps(_ settings: ClientTLSSettings) -> [FileStamp] {
    [settings.authoritiesFile, settings.certificateFile, settings.keyFile].map { FileStamp($0) }
  }

  /// Looks whether a file has changed, and reads them all anew if so. Blocks for a disk; not for an
  /// event loop. One caller at a time.
  @discardableResult
  package func reloadIfChanged() -> ServerTLS.Reload {
    // Before the reading: what changes meanwhile is seen the next time.
    let stamps = Self.stamps(settings)
    guard state.withLock({ $0.stamps != stamps }) else { return .unchanged }
    do {
      let tls = try ClientTLS(settings)
      state.withLock { $0 = State(tls: tls, stamps: stamps) }
      return .reloaded
    } catch {
      state.withLock { $0.stamps = stamps }
      logger.error(
        "TLS files for connections to others have changed and are no good; the old ones stay in use",
        metadata: ["cause": "\(error)"]
      )
      return .refused(error)
    }
  }

  /// Looks at the files over and over, until the task is cancelled.
  package func watchFiles() async {
    while (try? await Task.sleep(for: ServerTLS.checkInterval)) != nil { reloadIfChanged() }
  }

  /// See `ClientTLS.install`.
  package func install(on channel: any Channel, host: String) throws {
    try state.withLock { $0.tls }.install(on: channel, host: host)
  }
}

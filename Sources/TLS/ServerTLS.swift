package import Logging
package import NIOCore
import NIOSSL
import Synchronization

/// TLS of listening sockets. The files behind it may change at any time: new connections use what
/// the last look at them found, and a set of files that is no good changes nothing.
///
/// Thread-safe.
package final class ServerTLS: Sendable {
  /// How long a client may take over the handshake.
  package static let handshakeTimeout = TimeAmount.seconds(10)
  /// The time between two looks at the files.
  package static let checkInterval = Duration.seconds(1)
  /// What a connection keeps of the buffer that encrypted bytes leave from.
  static let outputBytesKept = 64 << 10

  /// What a look at the files found.
  package enum Reload: Hashable, Sendable {
    case unchanged
    case reloaded
    /// What was in use stays in use.
    case refused(TLSError)
  }

  private struct State {
    var material: ServerMaterial
    /// Of the files that `material` was made of.
    var stamps: [FileStamp]
    /// What was last written to the log about files that are no good, and which they were.
    var complaint: (stamps: [FileStamp], error: TLSError)?
  }

  private let settings: TLSSettings
  private let logger: Logger
  private let state: Mutex<State>
  let log: RefusalLog

  /// Reads the files. Throws what is wrong with them.
  package init(_ settings: TLSSettings, logger: Logger) throws(TLSError) {
    try settings.check()
    let stamps = Self.stamps(settings)
    let material = try ServerMaterial(settings)
    self.settings = settings
    self.logger = logger
    log = RefusalLog(logger)
    state = Mutex(State(material: material, stamps: stamps))
    tell(material, "TLS files read")
  }

  private static func stamps(_ settings: TLSSettings) -> [FileStamp] {
    [
      settings.certificateFile, settings.keyFile, settings.authoritiesFile,
      settings.revocationFile,
    ].map { FileStamp($0) }
  }

  var material: ServerMaterial { state.withLock { $0.material } }

  /// Looks whether a file has changed, and reads them all anew if so. Blocks for a disk; not for an
  /// event loop. One caller at a time.
  @discardableResult
  package func reloadIfChanged() -> Reload {
    // Before the reading: what changes meanwhile is seen the next time.
    let stamps = Self.stamps(settings)
    guard state.withLock({ $0.stamps != stamps }) else { return .unchanged }
    do {
      let material = try ServerMaterial(settings)
      state.withLock { $0 = State(material: material, stamps: stamps) }
      tell(material, "TLS files have changed and are in use")
      return .reloaded
    } catch {
      let isNew = state.withLock { state in
        let isNew = state.complaint.map { $0.stamps != stamps || $0.error != error } ?? true
        state.complaint = (stamps, error)
        return isNew
      }
      if isNew {
        logger.error(
          "TLS files have changed and are no good; the old ones stay in use",
          metadata: ["cause": "\(error)"]
        )
      }
      return .refused(error)
    }
  }

  /// Looks at the files over and over, until the task is cancelled.
  package func watchFiles() async {
    while (try? await Task.sleep(for: Self.checkInterval)) != nil { reloadIfChanged() }
  }

  private func tell(_ material: ServerMaterial, _ message: Logger.Message) {
    logger.info(
      message,
      metadata: [
        "certificate": "\(settings.certificateFile)",
        "daysValid": "\((material.notValidAfter - SystemTime.seconds()) / 86_400)",
      ]
    )
    for note in material.notes { logger.warning("\(note)") }
    if material.notValidAfter < SystemTime.seconds() {
      logger.warning(
        "the certificate has expired",
        metadata: ["certificate": "\(settings.certificateFile)"]
      )
    }
  }

  /// Puts TLS into the pipeline of a new connection, as its first handlers; on the channel's loop.
  /// With `acceptsPlain` a connection that does not begin with a handshake goes on without TLS.
  ///
  /// When the client has shown a certificate that calls are to know, the event that `identity`
  /// makes of its common name goes up the pipeline before the first byte does.
  package func install(
    on channel: any Channel,
    acceptsPlain: Bool = false,
    identity: @escaping @Sendable (String) -> any Sendable
  ) throws {
    if acceptsPlain {
      try channel.pipeline.syncOperations.addHandler(
        FirstByteHandler(tls: self, identity: identity)
      )
    } else {
      let (handler, gate) = makeHandlers(identity: identity)
      try channel.pipeline.syncOperations.addHandlers(handler, gate)
    }
  }

  func makeHandlers(
    identity: @escaping @Sendable (String) -> any Sendable
  ) -> (NIOSSLServerHandler, HandshakeGate) {
    let material = material
    var configuration = NIOSSLHandler.Configuration()
    configuration.maximumPreservedOutboundBufferCapacity = Self.outputBytesKept
    let handler = NIOSSLServerHandler(context: material.context, configuration: configuration)
    let gate = HandshakeGate(
      handler: handler,
      check: material.check,
      identity: settings.identifiesClients ? identity : nil,
      log: log
    )
    return (handler, gate)
  }
}

/// What one listening socket serves, and how it is bound.
package struct ListenerOptions: Sendable {
  /// What answers the requests of a socket that are not gRPC.
  package enum HTTP: Sendable {
    /// The server's own handler.
    case shared
    case other(any HTTPHandler)
    /// Nothing: such requests are refused.
    case none
  }

  /// gRPC calls are served; else they are refused as unimplemented.
  package var servesCalls = true
  package var http = HTTP.shared
  /// Connections are encrypted: what is asked of browsers only without that is not asked.
  package var isSecure = false
  /// Several processes may listen on the port (SO_REUSEPORT).
  package var reusesPort = false

  package init() {}
}

/// `ListenerOptions` as the connections of a socket go by them.
final class ListenerRole: Sendable {
  let servesCalls: Bool
  let httpHandler: (any HTTPHandler)?
  let isSecure: Bool
  /// The other end is the server's own process, see `RPCServer.attach`.
  let isLoopback: Bool

  init(_ options: ListenerOptions, shared: (any HTTPHandler)?) {
    servesCalls = options.servesCalls
    isSecure = options.isSecure
    isLoopback = false
    httpHandler =
      switch options.http {
      case .shared: shared
      case .other(let handler): handler
      case .none: nil
      }
  }

  private init(isLoopback: Bool) {
    servesCalls = true
    httpHandler = nil
    isSecure = false
    self.isLoopback = isLoopback
  }

  /// Of connections that the process has with itself.
  static let loopback = ListenerRole(isLoopback: true)
}

/// Metadata by which the server's own services speak for their clients. It counts on loopback
/// connections only; what passes metadata of clients on to one must leave out names that begin with
/// `prefix`.
package enum LoopbackMetadata {
  package static let prefix = "martlet-"
  /// The value of `ServerCall.peerCommonName`.
  package static let commonName = "martlet-common-name"
}

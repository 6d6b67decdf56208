package import TLS

/// The TLS of the peer port and of connections to others' peer ports.
package struct PeerTLS: Sendable {
  /// What clients of the peer port are shown and must show.
  package let server: ServerTLS
  /// What is shown to other members, and what they must show.
  package let client: ClientTLS

  package init(server: ServerTLS, client: ClientTLS) {
    self.server = server
    self.client = client
  }
}

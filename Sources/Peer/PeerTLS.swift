package import TLS

/// The TLS of the peer port and of connections to others' peer ports.
package struct PeerTLS: Sendable {
  /// What clients of the peer port are shown and must show.
  package let server: ServerTLS
  /// What is shown to other members, and what they must show.
  package let client: DialingTLS

  package init(server: ServerTLS, client: DialingTLS) {
    self.server = server
    self.client = client
  }

  /// Looks at the files for changes over and over, until the task is cancelled.
  package func watchFiles() async {
    async let dialing: Void = client.watchFiles()
    await server.watchFiles()
    await dialing
  }
}

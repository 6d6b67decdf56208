/// Who a client has proved to be: a user event that TLS fires up the pipeline of a new connection,
/// after the handshake and before the first byte is read.
///
/// Only for a certificate that was verified and that users are to be known by; it becomes
/// `ServerCall.peerCommonName`.
package struct PeerIdentity: Sendable {
  package let commonName: String

  package init(commonName: String) {
    self.commonName = commonName
  }
}

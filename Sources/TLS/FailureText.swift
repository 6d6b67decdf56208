import NIOSSL

/// The library's errors in a few words, without the addresses in its sources.
enum FailureText {
  static func text(_ error: any Error) -> String {
    switch error {
    case NIOSSLError.handshakeFailed(let inner): text(inner)
    case BoringSSLError.sslError(let stack), BoringSSLError.unknownError(let stack):
      stack.map(Self.text).joined(separator: ", ")
    case NIOSSLError.failedToLoadCertificate: "no certificate in it, or a malformed one"
    case NIOSSLError.failedToLoadPrivateKey: "no private key in it, or an encrypted one"
    default: "\(error)"
    }
  }

  /// Whether a key that could be read was refused: it belongs to another certificate.
  static func isMismatch(_ error: any Error) -> Bool {
    if case NIOSSLError.failedToLoadPrivateKey = error { true } else { false }
  }

  /// Whether the peer merely went away, or was none: a look whether the port is open.
  static func isDeparture(_ error: any Error) -> Bool {
    switch error {
    case NIOSSLError.handshakeFailed(.sslError(let stack)): stack == [.eofDuringHandshake]
    case NIOSSLError.handshakeFailed, NIOSSLError.uncleanShutdown: false
    default: !(error is NIOSSLError)
    }
  }

  /// `... OPENSSL_internal:WRONG_VERSION_NUMBER at ...` as `wrong version number`.
  private static func text(_ error: BoringSSLInternalError) -> String {
    let full = error.description
    let parts = full.split(separator: ":", omittingEmptySubsequences: false)
    guard let index = parts.firstIndex(of: "OPENSSL_internal"), index + 1 < parts.count else {
      return full
    }
    let word = parts[index + 1].prefix { $0 != " " }
    return word.lowercased().split(separator: "_").joined(separator: " ")
  }
}

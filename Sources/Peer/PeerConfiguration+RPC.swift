import Membership
import NIOCore
import RPC
import TLS

/// An address that asks for TLS, at a member that has none configured.
struct MissingTLSError: Error, CustomStringConvertible {
  let url: ServerURL

  var description: String { "\(url) needs TLS, and this member has no --peer-cert-file" }
}

extension RPCAddress {
  init(_ url: ServerURL) {
    self = url.isUnixSocket ? .unix(path: url.host) : .host(url.host, port: Int(url.port))
  }
}

extension PeerConfiguration {
  /// How an address of a peer is connected to.
  func client(
    for url: ServerURL,
    tls: PeerTLS?
  ) throws(MissingTLSError) -> RPCClientConfiguration {
    var rpc = try Self.client(for: url, tls: tls, connectTimeout: connectTimeout)
    rpc.keepaliveInterval = keepaliveInterval
    rpc.keepaliveTimeout = keepaliveTimeout
    return rpc
  }

  static func client(
    for url: ServerURL,
    tls: PeerTLS?,
    connectTimeout: TimeAmount
  ) throws(MissingTLSError) -> RPCClientConfiguration {
    var rpc = RPCClientConfiguration()
    rpc.connectTimeout = connectTimeout
    rpc.messageBytesMax = answerBytesMax
    guard url.isSecure else { return rpc }
    guard let tls else { throw MissingTLSError(url: url) }
    let host = url.isUnixSocket ? "" : url.host
    rpc.isSecure = true
    rpc.setup = { channel in try tls.client.install(on: channel, host: host) }
    return rpc
  }

  /// The longest answer of a peer.
  private static let answerBytesMax = 16 << 20

  /// The peer port.
  var server: RPCServerConfiguration {
    var server = RPCServerConfiguration()
    server.messageBytesMax = messageBytesMax
    server.partialBytesPerConnectionMax = 2 * messageBytesMax
    server.concurrentStreamsMax = Self.callsPerConnectionMax
    server.connectionsMax = Self.connectionsMax
    server.streamWindowBytes = Self.windowBytes
    server.connectionWindowBytes = 2 * Self.windowBytes
    server.keepaliveMinTime = .nanoseconds(keepaliveInterval.nanoseconds / 2)
    server.keepaliveInterval = keepaliveInterval
    server.keepaliveTimeout = listeningKeepaliveTimeout
    return server
  }

  private static let callsPerConnectionMax: UInt32 = 256
  private static let connectionsMax = 1024
  /// What a peer may send ahead: 100 MB/s over 80 ms.
  private static let windowBytes: UInt32 = 8 << 20
}

package import HTTP2
import NIOCore

/// One client's HTTP/2 connection: turns streams into calls. Confined to its event loop.
package final class ServerConnection: HTTP2Delegate, DrainableConnection {
  /// The tag of a stream whose call is over: what still arrives on it is thrown away.
  static let endedTag = -1

  static let protocolErrorCode: UInt32 = 0x1
  static let refusedStreamCode: UInt32 = 0x7
  static let cancelCode: UInt32 = 0x8

  let loop: RPCServerLoop
  /// Nil when the connection is closed.
  @exclusivity(unchecked) var http2: HTTP2Connection?
  let peer: String
  /// See `ServerCall.peerCommonName`.
  let peerCommonName: String?
  let listener: ListenerRole
  /// The `:authority` of the connection's first call; others keep their own.
  @exclusivity(unchecked) private var authorityBytes: [UInt8] = []
  /// Bytes of unfinished messages held for all streams together.
  @exclusivity(unchecked) var partialBytes = 0
  /// The loop has this connection in its list of those to flush.
  @exclusivity(unchecked) var isDirty = false

  init(loop: RPCServerLoop, listener: ListenerRole, peer: String, peerCommonName: String?) {
    self.loop = loop
    self.listener = listener
    self.peer = peer
    self.peerCommonName = peerCommonName
  }

  /// Makes the channel handler of a connection and enters the connection in the loop's table.
  static func start(
    on loop: RPCServerLoop,
    channel: any Channel,
    listener: ListenerRole,
    peer: String,
    peerCommonName: String?
  ) -> HTTP2Connection {
    let connection = ServerConnection(
      loop: loop,
      listener: listener,
      peer: peer,
      peerCommonName: peerCommonName
    )
    let http2 = HTTP2Connection(
      role: .server,
      configuration: listener.isLoopback
        ? loop.loopbackConfiguration : loop.http2Configuration,
      delegate: connection
    )
    connection.http2 = http2
    loop.enter(connection, channel)
    return http2
  }

  var authority: String { String(decoding: authorityBytes, as: UTF8.self) }

  package func turnEnded() {
    loop.turnTime = 0
  }

  package func goAwayReceived(lastStreamID: Int32, errorCode: UInt32) {
    // The client opens no more streams; those that run are answered as usual.
  }

  package func connectionClosed(_ reason: HTTP2CloseReason) {
    http2 = nil
    loop.turnTime = 0
    if isDirty { loop.dirtyConnections.removeAll { $0 === self } }
    loop.leave(self)
  }

  var isLoopback: Bool { listener.isLoopback }

  func drain() {
    http2?.shutdownGracefully()
  }

  func closeNow() {
    http2?.closeNow()
  }

  package func streamWritable(_ stream: HTTP2Stream) {
    guard stream.tag > 0 else { return }
    let slot = loop.slots[stream.tag - 1]
    if slot.heldCreditBytes > 0 {
      http2?.consume(stream, slot.heldCreditBytes)
      slot.heldCreditBytes = 0
    }
    if let callback = slot.writableCallback {
      slot.writableCallback = nil
      callback(ServerCall(loop: loop, id: slot.id))
    }
    if stream.tag > 0, let request = loop.slots[stream.tag - 1].http { request.becameWritable() }
  }

  package func streamClosed(_ stream: HTTP2Stream, errorCode: UInt32) {
    guard stream.tag > 0 else { return }
    let slot = loop.slots[stream.tag - 1]
    if slot.phase == .call {
      if slot.method >= 0 {
        loop.noteEnded(slot, self, .canceled, responseBytes: slot.responseBytes)
      }
      loop.tellCanceled(slot)
    }
    slot.http?.clientGone()
    loop.closeSlot(slot)
  }

  /// Keeps the authority of the first call, and says whether `bytes` are the same.
  func isUsualAuthority(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if authorityBytes.isEmpty { authorityBytes = [UInt8](bytes) }
    return authorityBytes.withUnsafeBytes { $0.isEqual(to: bytes) }
  }
}

import NIOCore
import NIOSSL
import NIOTLS
import SwiftASN1
import X509

/// Stands behind a client's TLS until the handshake is done, and closes a connection whose server has
/// a certificate for other names. The library alone is content when the certificate is for the
/// address that the connection leads to, whatever name was asked for. Confined to the event loop.
final class ServerNameCheck: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer

  private let handler: NIOSSLClientHandler
  private let name: String

  init(_ handler: NIOSSLClientHandler, name: String) {
    self.handler = handler
    self.name = name
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case .handshakeCompleted = event as? TLSUserEvent else {
      context.fireUserInboundEventTriggered(event)
      return
    }
    // Nothing that waits to be written has left yet.
    do throws(TLSError) {
      try check()
      context.fireUserInboundEventTriggered(event)
      context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    } catch {
      context.fireErrorCaught(error)
      context.close(promise: nil)
    }
  }

  private func check() throws(TLSError) {
    guard let presented = handler.peerCertificate else {
      throw .failed("the server shows no certificate")
    }
    let hosts: HostNames
    do {
      hosts = try HostNames(of: Certificate(derEncoded: presented.toDERBytes()))
    } catch {
      throw .failed("the server's certificate cannot be read: \(error)")
    }
    guard hosts.cover(name) else {
      throw .failed("the server's certificate is not for \(name)")
    }
  }
}

import Logging
import NIOCore
import NIOPosix
import NIOSSL
import TLS
import Testing

/// What `ServerTLS` sends up for a client that has a name.
struct Named: Sendable {
  let commonName: String
}

/// A server that answers each read with who the client is: its common name, or `nobody`.
final class Greeter: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private var name = "nobody"

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let named = event as? Named { name = named.commonName }
    context.fireUserInboundEventTriggered(event)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: name)), promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}

/// One listening socket with TLS.
final class TLSListener: Sendable {
  let channel: any Channel
  var port: Int { channel.localAddress?.port ?? 0 }

  init(_ tls: ServerTLS, acceptsPlain: Bool = false) async throws {
    channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try tls.install(on: channel, acceptsPlain: acceptsPlain) { Named(commonName: $0) }
          try channel.pipeline.syncOperations.addHandler(Greeter())
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
  }

  func close() async {
    // It is closed already when this fails.
    try? await channel.close().get()
  }

  /// Connects, says something, and returns what comes back until the server closes or has said
  /// something. Throws what goes wrong in the handshake.
  func greet(_ client: TLSConfiguration?, host: String? = nil) async throws -> Greeting {
    let context = try client.map { try NIOSSLContext(configuration: $0) }
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let answer = eventLoop.makePromise(of: Greeting.self)
    do {
      _ = try await ClientBootstrap(group: eventLoop)
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            if let context {
              let handler = try NIOSSLClientHandler(context: context, serverHostname: host)
              try channel.pipeline.syncOperations.addHandler(handler)
            }
            try channel.pipeline.syncOperations.addHandler(Caller(answer, isPlain: context == nil))
          }
        }
        .connect(host: "127.0.0.1", port: port).get()
    } catch {
      answer.fail(error)
    }
    return try await answer.futureResult.get()
  }
}

extension TLSListener {
  func expectGreeting(
    _ text: String,
    for client: TLSConfiguration?,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let greeting = try await greet(client)
    #expect(greeting.text == text, sourceLocation: sourceLocation)
  }

  func expectVersion(
    _ version: TLSVersion,
    for client: TLSConfiguration,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let greeting = try await greet(client)
    #expect(greeting.version == version, sourceLocation: sourceLocation)
  }
}

struct Greeting: Sendable {
  var text: String
  /// The serial number of the server's certificate.
  var serial: [UInt8] = []
  var version: TLSVersion?
}

/// Says hello and keeps the answer.
private final class Caller: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private let answer: EventLoopPromise<Greeting>
  private let isPlain: Bool
  private var isDone = false

  init(_ answer: EventLoopPromise<Greeting>, isPlain: Bool) {
    self.answer = answer
    self.isPlain = isPlain
  }

  func channelActive(context: ChannelHandlerContext) {
    // Kept by TLS until the handshake is done.
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "hello")), promise: nil)
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isDone else { return }
    isDone = true
    var greeting = Greeting(text: String(buffer: unwrapInboundIn(data)))
    if !isPlain {
      // Both are known: there was a handshake.
      let pipeline = context.pipeline.syncOperations
      greeting.serial = (try? pipeline.nioSSL_peerCertificate())?.serialNumber ?? []
      greeting.version = try? pipeline.nioSSL_tlsVersion()
    }
    answer.succeed(greeting)
    context.close(promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    finish(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    finish(ChannelError.eof)
    context.fireChannelInactive()
  }

  private func finish(_ error: any Error) {
    guard !isDone else { return }
    isDone = true
    answer.fail(error)
  }
}

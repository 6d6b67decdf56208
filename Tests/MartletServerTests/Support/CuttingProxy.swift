import NIOCore
import NIOPosix
import Synchronization

/// A proxy between two sockets in the file system, which can cut a connection at a given place: what was
/// sent from there on is lost, as on a network that breaks.
final class CuttingProxy: Sendable {
  private let target: String
  private let marker = Mutex<[UInt8]?>(nil)
  private let cuts = Atomic<Int>(0)
  private let listener = Mutex<(any Channel)?>(nil)

  /// How many connections were cut.
  var cutCount: Int { cuts.load(ordering: .relaxed) }

  private init(target: String) {
    self.target = target
  }

  /// A proxy that takes connections at `path` and leads them to `target`.
  static func start(at path: String, to target: String) async throws -> CuttingProxy {
    let proxy = CuttingProxy(target: target)
    let channel = try await ServerBootstrap(group: TestMember.group)
      .childChannelOption(.autoRead, value: false)
      .childChannelInitializer { proxy.relay($0) }
      .bind(unixDomainSocketPath: path).get()
    proxy.listener.withLock { $0 = channel }
    return proxy
  }

  /// The next connection on which a caller sends these bytes is closed instead of passing them on.
  func cut(at bytes: [UInt8]) {
    marker.withLock { $0 = bytes }
  }

  func stop() async {
    try? await listener.withLock { $0 }?.close().get()
  }

  private func relay(_ incoming: any Channel) -> EventLoopFuture<Void> {
    ClientBootstrap(group: incoming.eventLoop)
      .channelInitializer { outgoing in
        outgoing.eventLoop.makeCompletedFuture {
          try outgoing.pipeline.syncOperations.addHandler(Relay(to: incoming) { _ in false })
        }
      }
      .connect(unixDomainSocketPath: target)
      .flatMapThrowing { [self] outgoing in
        try incoming.pipeline.syncOperations.addHandler(
          Relay(to: outgoing) { [self] in isCut(by: $0) }
        )
      }
      .flatMap { incoming.setOption(.autoRead, value: true) }
  }

  private func isCut(by bytes: ByteBuffer) -> Bool {
    let isFound = marker.withLock { marker in
      guard let wanted = marker, Self.contains(bytes.readableBytesView, wanted) else {
        return false
      }
      marker = nil
      return true
    }
    if isFound { cuts.add(1, ordering: .relaxed) }
    return isFound
  }

  private static func contains(_ bytes: ByteBufferView, _ wanted: [UInt8]) -> Bool {
    guard bytes.count >= wanted.count else { return false }
    return bytes.indices.dropLast(wanted.count - 1).contains { bytes[$0...].starts(with: wanted) }
  }

  private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let isCut: (ByteBuffer) -> Bool

    init(to other: any Channel, isCut: @escaping (ByteBuffer) -> Bool) {
      self.other = other
      self.isCut = isCut
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      let bytes = unwrapInboundIn(data)
      if isCut(bytes) {
        context.close(promise: nil)
      } else {
        other.writeAndFlush(bytes, promise: nil)
      }
    }

    func channelInactive(context: ChannelHandlerContext) {
      other.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      context.close(promise: nil)
    }
  }
}

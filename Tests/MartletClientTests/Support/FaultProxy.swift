import NIOCore
import NIOPosix
import Synchronization
import Testing

/// A TCP proxy on loopback that can be told to misbehave. Stands for one endpoint of a cluster.
final class FaultProxy: Sendable {
  enum Mode: Sendable {
    case pass
    /// Connections are taken; nothing goes through in either direction, and what was sent is gone.
    case hang
    /// Requests go through, answers do not.
    case muteAnswers
    /// Answers take this long more.
    case slow(TimeAmount)
    /// Connections are closed as they come.
    case refuse
  }

  private struct State {
    var mode = Mode.pass
    var connections: [ObjectIdentifier: any Channel] = [:]
    var acceptCount = 0
    /// Bytes of requests that arrived while answers were mute.
    var mutedRequestBytes = 0
    /// Bytes of requests that arrived while the proxy hung.
    var swallowedBytes = 0
    /// Answers are closed off once this many bytes have come through.
    var cutAfterBytes: Int?
  }

  private let state = Mutex(State())
  private let listener = Mutex<(any Channel)?>(nil)
  private let target: SocketAddress
  let port: Int

  var address: String { "127.0.0.1:\(port)" }

  /// Starts a proxy in front of `127.0.0.1:port`.
  static func start(_ target: String) async throws -> FaultProxy {
    let port = try #require(target.split(separator: ":").last.flatMap { Int($0) })
    let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
    let box = ProxyBox()
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.autoRead, value: false)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptHandler(box))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let proxy = FaultProxy(target: address, port: try #require(channel.localAddress?.port))
    proxy.listener.withLock { $0 = channel }
    box.set(proxy)
    return proxy
  }

  private init(target: SocketAddress, port: Int) {
    self.target = target
    self.port = port
  }

  /// How many connections were accepted so far.
  var acceptCount: Int { state.withLock { $0.acceptCount } }
  /// How many connections are open.
  var openCount: Int { state.withLock { $0.connections.count } }
  var swallowedBytes: Int { state.withLock { $0.swallowedBytes } }
  var mutedRequestBytes: Int { state.withLock { $0.mutedRequestBytes } }

  func set(_ mode: Mode) {
    state.withLock { $0.mode = mode }
  }

  /// Closes the connections once `bytes` more have come from the server.
  func cut(afterAnswerBytes bytes: Int) {
    state.withLock { $0.cutAfterBytes = bytes }
  }

  /// Closes all connections.
  func cut() {
    let connections = state.withLock { state in
      defer { state.connections = [:] }
      return Array(state.connections.values)
    }
    for connection in connections { connection.close(promise: nil) }
  }

  func stop() async {
    let channel = listener.withLock { channel in
      defer { channel = nil }
      return channel
    }
    try? await channel?.close()
    cut()
  }

  /// Takes a connection in, when it is ready to be read.
  fileprivate func accepted(_ channel: any Channel) {
    let isRefused = state.withLock { state in
      state.acceptCount += 1
      state.connections[ObjectIdentifier(channel)] = channel
      if case .refuse = state.mode { return true }
      return false
    }
    if isRefused {
      channel.close(promise: nil)
      return
    }
    ClientBootstrap(group: channel.eventLoop)
      .channelOption(.autoRead, value: false)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .connect(to: target)
      .flatMapThrowing { upstream in
        try channel.pipeline.syncOperations.addHandler(
          ProxyHandler(self, to: upstream, isRequest: true)
        )
        try upstream.pipeline.syncOperations.addHandler(
          ProxyHandler(self, to: channel, isRequest: false)
        )
        channel.read()
        upstream.read()
      }
      .whenFailure { _ in channel.close(promise: nil) }
  }

  fileprivate enum Verdict {
    case forward, drop, cut
    case forwardLater(TimeAmount)
  }

  fileprivate func verdict(isRequest: Bool, byteCount: Int) -> Verdict {
    state.withLock { state in
      switch state.mode {
      case .pass, .refuse: break
      case .hang:
        if isRequest { state.swallowedBytes += byteCount }
        return .drop
      case .slow(let pause): if !isRequest { return .forwardLater(pause) }
      case .muteAnswers:
        if isRequest {
          state.mutedRequestBytes += byteCount
          return .forward
        }
        return .drop
      }
      if !isRequest, let left = state.cutAfterBytes {
        guard left > byteCount else {
          state.cutAfterBytes = nil
          return .cut
        }
        state.cutAfterBytes = left - byteCount
      }
      return .forward
    }
  }

  fileprivate func closed(_ channel: any Channel) {
    state.withLock { $0.connections[ObjectIdentifier(channel)] = nil }
  }
}

private final class ProxyBox: Sendable {
  private let held = Mutex<FaultProxy?>(nil)
  var proxy: FaultProxy? { held.withLock { $0 } }
  func set(_ proxy: FaultProxy) { held.withLock { $0 = proxy } }
}

/// Waits for a connection to be ready.
private final class AcceptHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let box: ProxyBox

  init(_ box: ProxyBox) {
    self.box = box
  }

  func channelActive(context: ChannelHandlerContext) {
    if let proxy = box.proxy {
      proxy.accepted(context.channel)
    } else {
      context.close(promise: nil)
    }
  }
}

/// One direction of one connection. Reads only as fast as the other side takes.
private final class ProxyHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let proxy: FaultProxy
  private let other: any Channel
  private let isRequest: Bool
  /// Something is missing from the stream of bytes: nothing may follow it.
  private var isTorn = false

  init(_ proxy: FaultProxy, to other: any Channel, isRequest: Bool) {
    self.proxy = proxy
    self.other = other
    self.isRequest = isRequest
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let buffer = unwrapInboundIn(data)
    let channel = context.channel
    let verdict = proxy.verdict(isRequest: isRequest, byteCount: buffer.readableBytes)
    switch isTorn ? .drop : verdict {
    case .forward: other.writeAndFlush(buffer).whenComplete { _ in channel.read() }
    case .forwardLater(let pause):
      let other = other
      channel.eventLoop.scheduleTask(in: pause) {
        other.writeAndFlush(buffer).whenComplete { _ in channel.read() }
      }
    case .drop:
      isTorn = true
      channel.read()
    case .cut:
      other.close(promise: nil)
      channel.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    if isRequest { proxy.closed(context.channel) }
    other.close(promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}

/// Runs `body` with `count` proxies in front of one server: a cluster of endpoints with one store.
func withProxies(
  _ count: Int,
  to target: String,
  _ body: ([FaultProxy]) async throws -> Void
) async throws {
  var proxies: [FaultProxy] = []
  for _ in 0..<count { proxies.append(try await FaultProxy.start(target)) }
  do {
    try await body(proxies)
  } catch {
    for proxy in proxies { await proxy.stop() }
    throw error
  }
  for proxy in proxies { await proxy.stop() }
}

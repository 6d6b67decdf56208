package import Base
package import HTTP2
package import NIOCore
import NIOPosix

/// The bounds and times of a client.
package struct RPCClientConfiguration: Sendable {
  /// The longest response message, decompressed.
  package var messageBytesMax = Int(Int32.max)
  package var connectTimeout = TimeAmount.seconds(5)
  /// How long a connection with calls is silent before it is pinged; nil never.
  package var keepaliveInterval: TimeAmount?
  /// How long the answer to such a ping may take.
  package var keepaliveTimeout = TimeAmount.seconds(20)
  /// What of a response stream may wait for its reader before flow control holds the server back.
  package var inputBufferedBytesMax = 256 << 10
  /// What the server may send before we consume some, where it is not HTTP/2's usual.
  package var connectionWindowBytes: UInt32?
  package var streamWindowBytes: UInt32?
  /// `:scheme` is `https`; the encryption itself is `setup`'s part.
  package var isSecure = false
  /// `:authority`, when it is not the address.
  package var authority: String?
  /// Puts TLS and the like into the pipeline.
  package var setup: RPCServer.ChannelSetup?

  package init() {}

  /// For a server in the same process: a stream whose messages nobody takes must not keep the others
  /// from theirs, so what one may have is small against what all may have.
  static let loopback: RPCClientConfiguration = {
    var configuration = RPCClientConfiguration()
    configuration.inputBufferedBytesMax = loopbackStreamBytes
    configuration.connectionWindowBytes = RPCServerConfiguration.loopbackWindowBytes
    configuration.streamWindowBytes = UInt32(loopbackStreamBytes)
    return configuration
  }()

  private static let loopbackStreamBytes = 128 << 10

  var http2: HTTP2Configuration {
    var http2 = HTTP2Configuration()
    if let connectionWindowBytes { http2.connectionWindowBytes = connectionWindowBytes }
    if let streamWindowBytes { http2.initialWindowBytes = streamWindowBytes }
    http2.keepalive.pingInterval = keepaliveInterval
    http2.keepalive.pingTimeout = keepaliveTimeout
    http2.keepalive.pingsWithoutStreams = false
    return http2
  }
}

/// A client's HTTP/2 connection with callbacks and no tasks: what `RPCClient` and the load generator
/// are made of.
///
/// Confined to its event loop, `connect` apart.
package final class ClientLoopConnection: HTTP2Delegate, @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  static let cancelCode: UInt32 = 0x8
  static let endedTag = -1

  let configuration: RPCClientConfiguration
  /// Kept until after `connectionClosed`: whoever lets a client go with connections open must not
  /// have what still comes fall on nobody.
  @exclusivity(unchecked) var delegate: (any ClientCallDelegate)?
  /// Nil when the connection is closed.
  @exclusivity(unchecked) var http2: HTTP2Connection?
  @exclusivity(unchecked) var slots: ContiguousArray<ClientSlot> = []
  @exclusivity(unchecked) private var freeSlots: ContiguousArray<Int32> = []
  /// The server takes no streams above this any more.
  var lastStreamID = Int32.max
  /// The connection takes no new calls.
  @exclusivity(unchecked) var isDraining = false
  /// Calls whose streams were closed by code CANCEL.
  var canceledTokens: [Int] = []
  let gzip = Gzip()
  @exclusivity(unchecked) var scratch = ByteWriter()
  @exclusivity(unchecked) var deliveringSlot = -1

  private init(_ configuration: RPCClientConfiguration, _ delegate: any ClientCallDelegate) {
    self.configuration = configuration
    self.delegate = delegate
  }

  /// Connects. The connection keeps its delegate until after `connectionClosed`; it hears nothing
  /// before the future succeeds.
  package static func connect(
    to address: RPCAddress,
    on eventLoop: any EventLoop,
    configuration: RPCClientConfiguration = RPCClientConfiguration(),
    delegate: any ClientCallDelegate & Sendable
  ) -> EventLoopFuture<ClientLoopConnection> {
    connect(to: .address(address), on: eventLoop, configuration: configuration, delegate: delegate)
  }

  /// As `connect(to:on:configuration:delegate:)`, to any target.
  static func connect(
    to target: ClientTarget,
    on eventLoop: any EventLoop,
    configuration: RPCClientConfiguration,
    delegate: any ClientCallDelegate & Sendable
  ) -> EventLoopFuture<ClientLoopConnection> {
    let bootstrap = ClientBootstrap(group: eventLoop)
      .connectTimeout(configuration.connectTimeout)
      .channelOption(.maxMessagesPerRead, value: 4)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try configuration.setup?(channel) }
      }
    let channel = target.connect(bootstrap, on: eventLoop)
    return channel.flatMapThrowing { channel in
      let connection = ClientLoopConnection(configuration, delegate)
      let http2 = HTTP2Connection(
        role: .client,
        configuration: configuration.http2,
        delegate: connection
      )
      connection.http2 = http2
      try channel.pipeline.syncOperations.addHandler(http2)
      return connection
    }
  }

  /// Whether new calls can begin here.
  package var isAvailable: Bool { http2 != nil && !isDraining }

  /// How many calls are running.
  package var callCount: Int { slots.count - freeSlots.count }

  /// Begins a call and sends its only request message. `callEnded` will be called for it, unless
  /// nil is returned: the connection takes no calls, and the request was not sent.
  @discardableResult
  package func startUnary(
    path: HeaderBlock,
    message: UnsafeRawBufferPointer,
    token: Int
  ) -> CallID? {
    guard let http2, let slot = open(path, token), let stream = slot.stream else { return nil }
    http2.write(stream) { writer in
      Self.append(message, to: &writer)
    }
    http2.endStream(stream)
    return slot.id
  }

  /// Begins a call whose request messages are sent with `send`.
  package func start(
    headers: HeaderBlock,
    token: Int,
    compressesRequests: Bool = false
  ) -> CallID? {
    guard let slot = open(headers, token) else { return nil }
    slot.compressesRequests = compressesRequests
    return slot.id
  }

  /// Sends a request message. Without effect on a call that has ended.
  package func send(_ id: CallID, _ message: UnsafeRawBufferPointer) {
    guard let slot = slot(id), let stream = slot.stream, let http2 else { return }
    guard slot.compressesRequests else {
      http2.write(stream) { writer in
        Self.append(message, to: &writer)
      }
      return
    }
    scratch.removeAll()
    gzip.compress(message, into: &scratch)
    let compressed = scratch.bytes
    http2.write(stream) { writer in
      Self.append(compressed, isCompressed: true, to: &writer)
    }
  }

  /// Begins a request message that is sent in parts, all by `sendPart`, `length` bytes together.
  /// Not for calls with `compressesRequests`.
  package func beginMessage(_ id: CallID, length: Int) {
    guard let slot = slot(id), let stream = slot.stream else { return }
    http2?.write(stream) { writer in
      writer.append(byte: 0)
      writer.append(integer: UInt32(length).bigEndian)
    }
  }

  /// Sends a part of the message that `beginMessage` began: what `body` appends.
  package func sendPart(_ id: CallID, _ body: (inout ByteWriter) -> Void) {
    guard let slot = slot(id), let stream = slot.stream else { return }
    http2?.write(stream, body)
  }

  /// Sends a part of the message that `beginMessage` began; a large one without a copy.
  package func sendPart(_ id: CallID, _ part: SharedBytes) {
    guard let slot = slot(id), let stream = slot.stream else { return }
    http2?.write(stream, part)
  }

  /// Ends the request stream.
  package func halfClose(_ id: CallID) {
    guard let slot = slot(id), let stream = slot.stream else { return }
    http2?.endStream(stream)
  }

  /// Takes the call back; `callEnded` is not called for it any more.
  package func cancel(_ id: CallID) {
    guard let slot = slot(id), let stream = slot.stream else { return }
    close(slot)
    http2?.reset(stream, errorCode: Self.cancelCode)
  }

  package func isWritable(_ id: CallID) -> Bool {
    slot(id)?.stream?.isWritable ?? false
  }

  /// Holds the server back by flow control, or lets it go on.
  package func setPaused(_ id: CallID, _ isPaused: Bool) {
    guard let slot = slot(id), let stream = slot.stream else { return }
    slot.isPaused = isPaused
    guard !isPaused, slot.heldCreditBytes > 0 else { return }
    http2?.consume(stream, slot.heldCreditBytes)
    slot.heldCreditBytes = 0
  }

  /// Sends what was written, without waiting for the loop's next turn.
  package func flush() {
    http2?.flushNow()
  }

  /// Closes when the calls that run have ended.
  package func shutdownGracefully() {
    isDraining = true
    http2?.shutdownGracefully()
  }

  package func closeNow() {
    http2?.closeNow()
  }
}

// Slots.
extension ClientLoopConnection {
  func slot(_ id: CallID) -> ClientSlot? {
    guard id.slot < slots.count else { return nil }
    let slot = slots[id.slot]
    return slot.isOpen && slot.generation == id.generation ? slot : nil
  }

  private func open(_ headers: HeaderBlock, _ token: Int) -> ClientSlot? {
    guard let http2, !isDraining, freeSlots.count > 0 || slots.count < CallID.slotsMax,
      let stream = http2.openStream(headers, endStream: false)
    else { return nil }
    let slot: ClientSlot
    if let free = freeSlots.popLast() {
      slot = slots[Int(free)]
    } else {
      slot = ClientSlot(index: slots.count)
      slots.append(slot)
    }
    slot.open(stream, token: token)
    stream.tag = slot.index + 1
    return slot
  }

  func close(_ slot: ClientSlot) {
    if let stream = slot.stream {
      stream.tag = Self.endedTag
      if slot.heldCreditBytes > 0 { http2?.consume(stream, slot.heldCreditBytes) }
    }
    if slot.index != deliveringSlot { slot.reader.reset() }
    slot.close()
    freeSlots.append(Int32(slot.index))
  }

  private static func append(
    _ message: UnsafeRawBufferPointer,
    isCompressed: Bool = false,
    to writer: inout ByteWriter
  ) {
    writer.append(byte: isCompressed ? 1 : 0)
    writer.append(integer: UInt32(message.count).bigEndian)
    writer.append(message)
  }
}

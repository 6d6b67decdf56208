import Base
import Membership
import NIOCore
import NIOPosix
import Peer
import Proto
import RPC
import Raft
import Synchronization
import Testing

/// Strangers at the peer port: they are refused, cost no memory that lasts and few lines in the log,
/// and members go on talking.
@Suite("A hostile peer port", .serialized, .timeLimit(.minutes(10))) struct HostilePortTests {
  static let group = MultiThreadedEventLoopGroup.singleton

  /// Collects what a server sends until it closes.
  private final class Collector: ChannelInboundHandler, @unchecked Sendable {
    // Confined to its channel's event loop; `done` is read through its future.
    typealias InboundIn = ByteBuffer

    private var received: [UInt8] = []
    private let done: EventLoopPromise<[UInt8]>

    init(_ done: EventLoopPromise<[UInt8]>) { self.done = done }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      received += Array(unwrapInboundIn(data).readableBytesView)
    }

    func channelInactive(context: ChannelHandlerContext) { done.succeed(received) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      context.close(promise: nil)
    }
  }

  /// Sends bytes to a socket, and returns what came until it was closed, by the server or by
  /// half-closing.
  private static func exchange(_ bytes: [UInt8], at path: String) async throws -> [UInt8] {
    let done = group.any().makePromise(of: [UInt8].self)
    let channel = try await ClientBootstrap(group: group)
      .channelOption(.allowRemoteHalfClosure, value: false)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Collector(done))
        }
      }
      .connect(unixDomainSocketPath: path).get()
    // A server that closes at once may refuse the rest.
    try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
    try? await channel.close(mode: .output).get()
    return try await done.futureResult.get()
  }

  private static func talks(_ a: TestPeer, _ b: TestPeer) async throws {
    let before = b.recorder.value.messages.count
    a.transport.send([a.message(to: b.id, 7)])
    try await eventually("a message still arrives") {
      b.recorder.value.messages.count > before
    }
  }

  private static func withPair(_ body: (TestPeer, TestPeer) async throws -> Void) async throws {
    let folder = try SocketFolder()
    let (a, b) = (try await TestPeer.start(1, in: folder), try await TestPeer.start(2, in: folder))
    a.transport.update(peers: [b.address])
    b.transport.update(peers: [a.address])
    try await eventually("a stream") { a.transport.connectedSince(b.id) != nil }
    do {
      try await body(a, b)
      try await talks(a, b)
    } catch {
      await a.stop()
      await b.stop()
      throw error
    }
    await a.stop()
    await b.stop()
  }

  @Test("garbage, a port scan by HTTP/1.1, and broken HTTP/2")
  func garbage() async throws {
    try await Self.withPair { _, b in
      var random = SplitMix64(seed: 5)
      let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
      for round in 0..<40 {
        let noise = (0..<Int(random.next() % 3000)).map { _ in
          UInt8(truncatingIfNeeded: random.next())
        }
        _ = try await Self.exchange(round % 2 == 0 ? noise : preface + noise, at: b.url.host)
      }
      // A frame that announces 16 MiB, and SETTINGS for a stream.
      for frame in [[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], [0, 0, 0, 4, 0, 0, 0, 0, 9]] as [[UInt8]]
      {
        _ = try await Self.exchange(preface + frame, at: b.url.host)
      }
      for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /raft/stream/message/1 HTTP/1.1\r\nHost: a\r\nX-Etcd-Cluster-ID: c1\r\n"
          + "Connection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}",
      ] {
        let answer = try await Self.exchange(Array(request.utf8), at: b.url.host)
        if request.hasPrefix("GET") {
          #expect(String(decoding: answer, as: UTF8.self).hasPrefix("HTTP/1.1 4"), "\(request)")
        }
      }
    }
  }

  @Test("callers under many names and lies leave no trace but a few lines")
  func names() async throws {
    try await Self.withPair { a, b in
      for number in 0..<200 as Range<UInt64> {
        // Of another cluster; of this one, and calling somebody else.
        let lies = [
          LyingPeerTests.options(from: 1000 + number, cluster: 0xC2),
          LyingPeerTests.options(from: 1000 + number, to: 99),
        ]
        let status = try await LyingPeerTests.end(b, lies[Int(number % 2)], nil)
        #expect(status?.code == .failedPrecondition)
      }
      #expect(b.lines.count(containing: "a call of a peer is refused") <= 64)
      // Of this cluster under names that nobody knows: heard, and not remembered.
      for number in 0..<20 as Range<UInt64> {
        _ = try await LyingPeerTests.end(b, LyingPeerTests.options(from: 5000 + number, to: 2), nil)
        #expect(b.transport.lastHeard(from: MemberID(5000 + number)) == nil)
      }
      #expect(b.transport.traffic.map(\.peer) == [a.id])
    }
  }

  @Test("messages that are too large, and batches that are none, end their stream and are counted")
  func messages() async throws {
    let folder = try SocketFolder()
    let peer = try await TestPeer.start(1, in: folder) { configuration, _ in
      configuration.messageBytesMax = 100_000
    }
    let other = PeerAddress(id: MemberID(2), urls: [try ServerURL("unix://\(folder.path)/9.sock")])
    peer.transport.update(peers: [other])
    var large = LyingPeerTests.message()
    large.messages[0].type = Raftpb.MessageType(rawValue: 3)
    large.messages[0].entries = [
      Raftpb.Entry(
        term: 1,
        index: 1,
        type: .entryNormal,
        data: [UInt8](repeating: 1, count: 200_000)
      )
    ]
    let status = try await LyingPeerTests.end(peer, LyingPeerTests.options(), large)
    #expect(status?.code == .resourceExhausted)
    let lie = try await LyingPeerTests.end(
      peer,
      LyingPeerTests.options(),
      LyingPeerTests.message(from: 3)
    )
    #expect(lie?.code == .invalidArgument)
    let counts = try #require(peer.transport.traffic.first)
    #expect(counts.peer == other.id)
    #expect(counts.traffic.receiveFailures.load(ordering: .relaxed) == 1)
    #expect(counts.traffic.receivedBytes.load(ordering: .relaxed) > 0)
    #expect(peer.recorder.value.messages.isEmpty)
    await peer.stop()
  }

  /// How the stream of a snapshot ends whose parts are these.
  private static func snapshotEnd(
    _ peer: TestPeer,
    _ chunks: [Martletpb.SnapshotChunk]
  ) async throws -> RPCStatus? {
    let client = RPCClient(address: .unix(path: peer.url.host), group: group)
    var status: RPCStatus?
    do {
      let call = try await PeerClient(client).snapshotStream(options: LyingPeerTests.options())
      for chunk in chunks { await call.send(chunk) }
      call.finishSending()
      var answers = call.responses.makeAsyncIterator()
      while try await answers.next() != nil {}
    } catch let error as RPCError {
      status = error.status
    }
    await client.shutdown()
    return status
  }

  @Test("snapshots that lie about what they are, how long, and where their parts belong")
  func snapshots() async throws {
    let folder = try SocketFolder()
    let receiver = MemoryReceiver()
    let peer = try await TestPeer.start(1, in: folder) { _, handlers in
      handlers.makeSnapshotReceiver = { _, bytesMax in bytesMax < 1 << 40 ? receiver : nil }
    }
    var head = Raftpb.Message()
    (head.type, head.from, head.to, head.term) = (Raftpb.MessageType(rawValue: 7), 2, 1, 1)
    head.snapshot = Raftpb.Snapshot(
      metadata: Raftpb.SnapshotMetadata(
        confState: Raftpb.ConfState(voters: [1, 2]),
        index: 5,
        term: 1
      )
    )
    func chunk(
      _ data: [UInt8],
      at offset: UInt64 = 0,
      of bytesMax: UInt64 = 0,
      sha256: [UInt8] = [],
      head: Raftpb.Message? = nil
    ) -> Martletpb.SnapshotChunk {
      var chunk = Martletpb.SnapshotChunk()
      (chunk.data, chunk.offset, chunk.bytesMax) = (data, offset, bytesMax)
      (chunk.sha256, chunk.head) = (sha256, head)
      return chunk
    }
    var vote = head
    vote.type = Raftpb.MessageType(rawValue: 5)
    let sha256 = [UInt8](repeating: 0, count: 32)
    let lies: [(what: String, chunks: [Martletpb.SnapshotChunk], code: RPCCode)] = [
      ("nothing at all", [], .invalidArgument),
      ("no head", [chunk([1], of: 1)], .invalidArgument),
      ("another kind of message", [chunk([1], of: 1, head: vote)], .invalidArgument),
      ("too long for any disk", [chunk([1], of: 1 << 50, head: head)], .unavailable),
      ("longer than said", [chunk([1, 2, 3], of: 2, head: head)], .invalidArgument),
      ("no last part", [chunk([1], of: 2, head: head)], .invalidArgument),
      ("a gap", [chunk([1], of: 9, head: head), chunk([1], at: 5)], .invalidArgument),
      ("a part again", [chunk([1], of: 9, head: head), chunk([1], at: 0)], .invalidArgument),
      (
        "an offset beyond all", [chunk([1], of: 9, head: head), chunk([1], at: .max)],
        .invalidArgument
      ),
      (
        "more after the end", [chunk([1], of: 1, sha256: sha256, head: head), chunk([1], at: 1)],
        .invalidArgument
      ),
    ]
    for lie in lies {
      let status = try await Self.snapshotEnd(peer, lie.chunks)
      // What was whole already may be answered before the rest is seen.
      if lie.what == "more after the end", status == nil { continue }
      #expect(status?.code == lie.code, "\(lie.what): \(String(describing: status))")
    }
    await peer.stop()
  }
}

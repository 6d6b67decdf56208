import Base
import NIOCore
import Proto
import RPC
import Raft
import Synchronization

/// One snapshot that a peer sends: checks its parts, hands them to the receiver one at a time, and
/// answers each. Confined to its event loop; the receiver is called in a task.
final class IncomingSnapshot: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private enum Item: Sendable {
    case part([UInt8])
    case end(sha256: [UInt8])
  }

  let from: MemberID
  private let configuration: PeerConfiguration
  private let handlers: PeerHandlers
  private let traffic: PeerTraffic?
  private let loop: RPCServerLoop
  private let call: CallID
  private let ended: () -> Void
  private var items: AsyncStream<Item>.Continuation?
  private var bytesMax: UInt64 = 0
  private var takenBytes: UInt64 = 0
  /// Parts that were taken and not answered.
  private var unanswered = 0
  private(set) var isWhole = false

  init(
    from: MemberID,
    configuration: PeerConfiguration,
    handlers: PeerHandlers,
    traffic: PeerTraffic?,
    loop: RPCServerLoop,
    call: CallID,
    ended: @escaping () -> Void
  ) {
    self.from = from
    self.configuration = configuration
    self.handlers = handlers
    self.traffic = traffic
    self.loop = loop
    self.call = call
    self.ended = ended
  }

  /// Takes a part. Throws why the snapshot is refused.
  func take(_ chunk: Martletpb.SnapshotChunk.View) throws(RPCStatus) {
    guard !isWhole else { throw RPCStatus(.invalidArgument, "a part after the last") }
    // One more than the sender may have under way, for the last one, which may hold no data.
    guard unanswered <= configuration.snapshotChunksMax else {
      throw RPCStatus(.resourceExhausted, "too many unanswered parts of a snapshot")
    }
    if items == nil { try begin(chunk) }
    let data = chunk.data
    guard chunk.offset == takenBytes, data.count <= configuration.snapshotChunkBytes,
      UInt64(data.count) <= bytesMax - takenBytes
    else { throw RPCStatus(.invalidArgument, "the part does not follow the one before it") }
    takenBytes += UInt64(data.count)
    traffic?.receivedBytes.add(data.count, ordering: .relaxed)
    if !data.isEmpty {
      unanswered += 1
      items?.yield(.part([UInt8](data)))
    }
    guard !chunk.sha256.isEmpty else { return }
    isWhole = true
    items?.yield(.end(sha256: [UInt8](chunk.sha256)))
    items?.finish()
  }

  private func begin(_ chunk: Martletpb.SnapshotChunk.View) throws(RPCStatus) {
    guard let head = chunk.head else {
      throw RPCStatus(.invalidArgument, "the first part says nothing of the snapshot")
    }
    let message: Raft.Message
    do {
      message = try RaftDecoder.snapshotHead(head, from: from, to: configuration.memberID)
    } catch {
      throw RPCStatus(.invalidArgument, error.description)
    }
    bytesMax = chunk.bytesMax
    guard let receiver = handlers.makeSnapshotReceiver(message, bytesMax) else {
      throw RPCStatus(.unavailable, "this member takes no snapshot now")
    }
    let (stream, items) = AsyncStream.makeStream(of: Item.self)
    self.items = items
    Task { await self.hand(stream, to: receiver) }
  }

  /// The stream broke off or was refused.
  func abandon() {
    items?.finish()
  }

  /// Runs as a task.
  private func hand(_ stream: AsyncStream<Item>, to receiver: any SnapshotReceiver) async {
    var received: UInt64 = 0
    let start = PeerTransport.now
    traffic?.snapshotsReceiving.add(1, ordering: .relaxed)
    defer { traffic?.snapshotsReceiving.subtract(1, ordering: .relaxed) }
    do {
      for await item in stream {
        switch item {
        case .part(let data):
          try await receiver.receive(data)
          received += UInt64(data.count)
          answer(received, isComplete: false)
        case .end(let sha256):
          try await receiver.finish(sha256: sha256)
          traffic?.snapshotsReceived.add(1, ordering: .relaxed)
          traffic?.snapshotReceiveTimes.note(nanoseconds: PeerTransport.now - start)
          answer(received, isComplete: true)
          return
        }
      }
    } catch {
      let status = RPCStatus(.aborted, "\(error)")
      loop.eventLoop.execute { self.end(status) }
    }
    traffic?.snapshotReceiveFailures.add(1, ordering: .relaxed)
    receiver.abandon()
  }

  private func answer(_ received: UInt64, isComplete: Bool) {
    loop.eventLoop.execute { [self] in
      unanswered -= 1
      let progress = Martletpb.SnapshotProgress(receivedBytes: received, isComplete: isComplete)
      loop.call(call)?.send { progress.encode(into: &$0) }
      if isComplete { end(.ok) }
      loop.flush()
    }
  }

  private func end(_ status: RPCStatus) {
    items?.finish()
    loop.call(call)?.finish(status)
    loop.flush()
    ended()
  }
}

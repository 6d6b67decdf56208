package import Base
import NIOCore
import Proto
import RPC
package import Raft
import Synchronization

/// Why a snapshot did not reach a peer.
package enum SnapshotSendError: Error, CustomStringConvertible {
  case unknownPeer(MemberID)
  case refused(String)
  /// The parts are more bytes than was said.
  case tooLong(UInt64, max: UInt64)
  /// The peer has taken nothing for too long.
  case stalled

  package var description: String {
    switch self {
    case .unknownPeer(let id): "no peer \(id) is known"
    case .refused(let text): text
    case .tooLong(let length, let max):
      "the snapshot has \(length) bytes, more than the \(max) announced"
    case .stalled: "the peer does not go on with the snapshot"
    }
  }
}

extension PeerTransport {
  /// Sends a snapshot to `message.to`: `message` is Raft's, as `PeerHandlers.snapshotWanted` got
  /// it; `next` returns the parts in order, none longer than it is told and all together at most
  /// `bytesMax` bytes, nil at the end, and `sha256` is asked then. Returns when the peer has verified
  /// it. No more than a few parts are in memory.
  ///
  /// Throws `SnapshotSendError`, or what `next` throws.
  package func sendSnapshot(
    _ message: Raft.Message,
    bytesMax: UInt64,
    next: @escaping @Sendable (_ bytesMax: Int) async throws -> [UInt8]?,
    sha256: @escaping @Sendable () -> [UInt8]
  ) async throws {
    guard let node = node(message.to) else { throw SnapshotSendError.unknownPeer(message.to) }
    let source = OutgoingSnapshot(
      message,
      bytesMax: bytesMax,
      configuration: configuration,
      traffic: node.traffic,
      next: next,
      sha256: sha256
    )
    let (traffic, start) = (node.traffic, Self.now)
    traffic.snapshotsSending.add(1, ordering: .relaxed)
    var isDelivered = false
    defer {
      traffic.snapshotsSending.subtract(1, ordering: .relaxed)
      if isDelivered {
        traffic.snapshotsSent.add(1, ordering: .relaxed)
        traffic.snapshotSendTimes.note(nanoseconds: Self.now - start)
      } else {
        traffic.snapshotSendFailures.add(1, ordering: .relaxed)
      }
    }
    do throws(RPCError) {
      try await node.call(timeout: nil) { peer, options throws(RPCError) in
        try await source.send(by: peer.snapshotStream(options: options))
      }
    } catch {
      throw source.failure ?? SnapshotSendError.refused(error.status.description)
    }
    if let failure = source.failure { throw failure }
    isDelivered = true
    heard(from: message.to)
  }
}

/// One snapshot under way to a peer. Used by one task, and by the one that watches over it.
private final class OutgoingSnapshot: Sendable {
  typealias Call = StreamingCall<Martletpb.SnapshotChunk, Martletpb.SnapshotProgress>

  private let message: Raft.Message
  private let bytesMax: UInt64
  private let configuration: PeerConfiguration
  private let traffic: PeerTraffic
  private let next: @Sendable (Int) async throws -> [UInt8]?
  private let sha256: @Sendable () -> [UInt8]
  private let state = Mutex(State())

  private struct State {
    /// Parts that were read and not answered: what another address of the peer gets first.
    var unanswered: [Martletpb.SnapshotChunk] = []
    var readBytes: UInt64 = 0
    var hasEnded = false
    var lastProgress = NIODeadline.now()
    var failure: (any Error)?
  }

  init(
    _ message: Raft.Message,
    bytesMax: UInt64,
    configuration: PeerConfiguration,
    traffic: PeerTraffic,
    next: @escaping @Sendable (Int) async throws -> [UInt8]?,
    sha256: @escaping @Sendable () -> [UInt8]
  ) {
    self.message = message
    self.bytesMax = bytesMax
    self.configuration = configuration
    self.traffic = traffic
    self.next = next
    self.sha256 = sha256
  }

  /// What went wrong on this side.
  var failure: (any Error)? { state.withLock { $0.failure } }

  func send(by call: Call) async throws(RPCError) {
    state.withLock { $0.lastProgress = .now() }
    let watch = Task { await self.watch(call) }
    defer { watch.cancel() }
    for chunk in state.withLock({ $0.unanswered }) { await call.send(chunk) }
    var answers = call.responses.makeAsyncIterator()
    while true {
      while state.withLock({ !$0.hasEnded && $0.unanswered.count < configuration.snapshotChunksMax }
      ) {
        guard let chunk = await read() else {
          call.cancel()
          return
        }
        await call.send(chunk)
      }
      guard let answer = try await answers.next(isolation: nil) else {
        throw RPCError(
          .unavailable("the peer ended the stream too early"),
          mayHaveBeenProcessed: true
        )
      }
      if answer.isComplete {
        call.finishSending()
        return
      }
      state.withLock { state in
        state.lastProgress = .now()
        state.unanswered.removeAll { chunk in
          chunk.sha256.isEmpty && chunk.offset + UInt64(chunk.data.count) <= answer.receivedBytes
        }
      }
    }
  }

  /// The next part, with Raft's message before the first and the hash in the last, which is empty.
  private func read() async -> Martletpb.SnapshotChunk? {
    var chunk = Martletpb.SnapshotChunk()
    chunk.offset = state.withLock { $0.readBytes }
    if chunk.offset == 0 {
      chunk.head = RaftEncoder.snapshotHead(message)
      chunk.bytesMax = bytesMax
    }
    do {
      if let data = try await next(configuration.snapshotChunkBytes), !data.isEmpty {
        let end = chunk.offset + UInt64(data.count)
        guard end <= bytesMax else { throw SnapshotSendError.tooLong(end, max: bytesMax) }
        traffic.sentBytes.add(data.count, ordering: .relaxed)
        chunk.data = data
      } else {
        chunk.sha256 = sha256()
      }
    } catch {
      state.withLock { $0.failure = error }
      return nil
    }
    state.withLock { state in
      state.readBytes += UInt64(chunk.data.count)
      state.hasEnded = !chunk.sha256.isEmpty
      state.unanswered.append(chunk)
    }
    return chunk
  }

  /// Takes the call back when the peer does not go on.
  private func watch(_ call: Call) async {
    let looksPerSilence: Int64 = 4
    let pause = Duration.nanoseconds(configuration.snapshotSilenceMax.nanoseconds / looksPerSilence)
    while (try? await Task.sleep(for: pause)) != nil {
      let isStalled = state.withLock { state in
        let isStalled = state.lastProgress + configuration.snapshotSilenceMax < .now()
        if isStalled { state.failure = SnapshotSendError.stalled }
        return isStalled
      }
      if isStalled {
        call.cancel()
        return
      }
    }
  }
}

import Base
import Logging
import Raft
import Replica
import Storage
import Synchronization

/// Sends members that lag too far the store, one at a time, beside the traffic.
final class SnapshotSender: Sendable {
  /// Brings a snapshot to `message.to`; returns when it was verified there.
  typealias Transmit =
    @Sendable (_ message: Raft.Message, _ snapshot: OutgoingSnapshot) async throws -> Void

  private let requests: AsyncStream<Raft.Message>
  private let feed: AsyncStream<Raft.Message>.Continuation
  private let worker: Task<Void, Never>

  /// After a failure a member waits so long for the next try, doubled each time up to the maximum.
  private static let retrySeconds: Int64 = 1
  private static let retrySecondsMax: Int64 = 30
  /// Requests that may wait; a cluster has fewer members.
  private static let waitingMax = 64

  /// `flush` has everything applied so far written to the store's file. `report` tells Raft how it
  /// went; it is called once for each message.
  init(
    storage: LMDBStorage,
    logger: Logger,
    flush: @escaping @Sendable () async -> Void,
    transmit: @escaping Transmit,
    report: @escaping @Sendable (_ peer: MemberID, _ isDelivered: Bool) -> Void
  ) {
    (requests, feed) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.waitingMax))
    let requests = requests
    worker = Task.detached {
      var failures: [MemberID: Int64] = [:]
      for await message in requests {
        let peer = message.to
        do {
          await flush()
          let snapshot = try OutgoingSnapshot(of: storage)
          try await Self.send(message, snapshot, transmit, logger)
          failures[peer] = nil
          report(peer, true)
        } catch {
          logger.warning(
            "a snapshot did not reach a member",
            metadata: ["member": "\(peer)", "cause": "\(error)"]
          )
          let seconds = min(failures[peer, default: Self.retrySeconds], Self.retrySecondsMax)
          failures[peer] = seconds * 2
          // Raft asks again as soon as it hears of it.
          Task.detached {
            try? await Task.sleep(for: .seconds(seconds))
            report(peer, false)
          }
        }
      }
    }
  }

  /// A member is to get a snapshot. Any thread; returns at once.
  func want(_ message: Raft.Message) {
    feed.yield(message)
  }

  /// Gives up what is under way, and waits for its end.
  func stop() async {
    feed.finish()
    worker.cancel()
    await worker.value
  }

  private static func send(
    _ message: Raft.Message,
    _ snapshot: OutgoingSnapshot,
    _ transmit: Transmit,
    _ logger: Logger
  ) async throws {
    // The receiver would find it malformed, after all of it had come.
    guard snapshot.mark.term <= message.term else { throw LeadershipIsOver() }
    var message = message
    message.snapshot = snapshot.mark.snapshotMetadata
    let start = MonotonicTime.now
    logger.info(
      "sending a snapshot",
      metadata: [
        "member": "\(message.to)", "index": "\(snapshot.mark.index)",
        "bytesMax": "\(snapshot.bytesMax)",
      ]
    )
    try await transmit(message, snapshot)
    let seconds = Double(MonotonicTime.now.nanoseconds(since: start)) / 1e9
    let rate = Double(snapshot.sentBytes) / max(seconds, 1e-3) / 1e6
    logger.info(
      "a snapshot was sent",
      metadata: [
        "member": "\(message.to)", "index": "\(snapshot.mark.index)",
        "bytes": "\(snapshot.sentBytes)", "seconds": "\(seconds)", "megabytesPerSecond": "\(rate)",
      ]
    )
  }
}

/// Since Raft asked for a snapshot, entries of a later term were applied: another member leads, and
/// sees to those that lag.
private struct LeadershipIsOver: Error, CustomStringConvertible {
  var description: String { "this member does not lead any more" }
}

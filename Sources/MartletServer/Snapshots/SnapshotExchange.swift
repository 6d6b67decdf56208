import Base
import Logging
import MemberFiles
import Peer
import Raft
import Replica
import Synchronization

/// Both ends of the way that snapshots take between members.
final class SnapshotExchange: Sendable {
  private let mailbox: Mailbox<ReplicaThread.Input>
  private let intake: SnapshotIntake
  private let sender = Mutex<SnapshotSender?>(nil)
  private let logger: Logger

  /// Removes what an earlier life of the member left in the store's directory.
  init(_ opened: OpenedMember, _ mailbox: Mailbox<ReplicaThread.Input>, logger: Logger) {
    SnapshotFiles.removeLeftovers(in: opened.directory.databasePath)
    self.mailbox = mailbox
    self.logger = logger
    intake = SnapshotIntake(
      storage: opened.base,
      directory: opened.directory.databasePath,
      clusterID: opened.identity.clusterID,
      logger: logger,
      offer: { snapshot, message in
        await withCheckedContinuation { continuation in
          let isPosted = mailbox.post(
            .snapshot(snapshot, message) { continuation.resume(returning: $0) }
          )
          if !isPosted { continuation.resume(returning: false) }
        }
      }
    )
  }

  /// Lets snapshots leave, by `peers`.
  func start(_ opened: OpenedMember, _ peers: PeerTransport) {
    let mailbox = mailbox
    let sender = SnapshotSender(
      storage: opened.base,
      logger: logger,
      flush: {
        await withCheckedContinuation { continuation in
          // A flush that fails is no matter: what was flushed before is a snapshot as well.
          if !mailbox.post(.flushAll({ _ in continuation.resume() })) { continuation.resume() }
        }
      },
      transmit: { message, snapshot in
        try await peers.sendSnapshot(
          message,
          bytesMax: UInt64(snapshot.bytesMax),
          next: { try snapshot.next(bytesMax: $0) },
          sha256: { snapshot.sha256 }
        )
      },
      report: { mailbox.post(.snapshotSent($0, isDelivered: $1)) }
    )
    self.sender.withLock { $0 = sender }
  }

  /// Raft wants a member to get a snapshot. Any thread.
  func want(_ message: Raft.Message) {
    guard let sender = sender.withLock({ $0 }) else {
      mailbox.post(.snapshotSent(message.to, isDelivered: false))
      return
    }
    sender.want(message)
  }

  /// A peer begins to send one.
  func makeReceiver(_ message: Raft.Message, _ bytesMax: UInt64) -> (any SnapshotReceiver)? {
    intake.makeReceiver(message, bytesMax: bytesMax)
  }

  /// Gives up what is being sent.
  func stopSending() async {
    let sender = sender.withLock { sender in
      defer { sender = nil }
      return sender
    }
    await sender?.stop()
  }

  /// Once no peer can send any more.
  func stopReceiving() {
    intake.stop()
  }
}

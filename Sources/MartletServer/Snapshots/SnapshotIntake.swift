package import Base
import Glibc
package import Logging
package import Peer
package import Raft
package import Replica
package import Storage
import Synchronization

/// Takes the snapshots that the leader sends, one at a time, and builds a store of them as they come:
/// checked record by record, and whole before Raft hears of it (P5).
package final class SnapshotIntake: Sendable {
  /// Hands a snapshot to the replica; answers whether it is going to be installed.
  package typealias Offer =
    @Sendable (_ snapshot: ReceivedSnapshot, _ message: Raft.Message) async -> Bool

  let storage: LMDBStorage
  let directory: String
  let clusterID: ClusterID
  let logger: Logger
  let offer: Offer
  /// Where stores are built: neither an event loop nor a pool of tasks may wait for disks.
  private let mailbox = Mailbox<@Sendable () -> Void>()
  private let thread: WorkerThread
  private let isBusy = Atomic<Bool>(false)

  /// What must stay free on the disk when a snapshot was written.
  private static let freeBytesMin = 64 << 20

  package init(
    storage: LMDBStorage,
    directory: String,
    clusterID: ClusterID,
    logger: Logger,
    offer: @escaping Offer
  ) {
    self.storage = storage
    self.directory = directory
    self.clusterID = clusterID
    self.logger = logger
    self.offer = offer
    let mailbox = mailbox
    thread = WorkerThread(name: "martlet-intake") {
      while let work = mailbox.takeOne() { work() }
    }
  }

  /// Receives what `message` announces; nil while another is received, or when so many bytes do not
  /// fit the disk.
  package func makeReceiver(_ message: Raft.Message, bytesMax: UInt64) -> (any SnapshotReceiver)? {
    guard let metadata = message.snapshot, let bytes = Int(exactly: bytesMax), bytes > 0 else {
      return nil
    }
    guard hasRoom(for: bytes) else {
      logger.error(
        "the leader's snapshot does not fit the disk",
        metadata: ["bytesMax": "\(bytes)"]
      )
      return nil
    }
    guard !isBusy.exchange(true, ordering: .acquiringAndReleasing) else { return nil }
    logger.info(
      "receiving a snapshot",
      metadata: ["index": "\(metadata.index)", "term": "\(metadata.term)", "bytesMax": "\(bytes)"]
    )
    return IncomingStore(self, message, metadata, bytesMax: bytes)
  }

  private func hasRoom(for bytes: Int) -> Bool {
    var status = statvfs()
    guard statvfs(directory, &status) == 0 else { return true }
    let free = Int(clamping: status.f_bavail).multipliedReportingOverflow(by: Int(status.f_frsize))
    let needed = bytes.addingReportingOverflow(Self.freeBytesMin)
    return free.overflow || (!needed.overflow && free.partialValue >= needed.partialValue)
  }

  fileprivate func isDone() {
    isBusy.store(false, ordering: .releasing)
  }

  /// Runs `body` on the thread for files.
  func onThread<Result: Sendable>(
    _ body: @escaping @Sendable () throws -> Result
  ) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      let isPosted = mailbox.post {
        continuation.resume(with: Swift.Result { try body() })
      }
      if !isPosted { continuation.resume(throwing: CancellationError()) }
    }
  }

  /// The same for who does not wait.
  fileprivate func post(_ body: @escaping @Sendable () -> Void) {
    mailbox.post(body)
  }

  /// Ends the thread once it has done what was asked of it.
  package func stop() {
    mailbox.close()
    thread.join()
    // Nobody may wait for what came too late.
    var rest: [@Sendable () -> Void] = []
    mailbox.takeAll(into: &rest)
    for work in rest { work() }
  }
}

/// One snapshot as it comes.
private final class IncomingStore: SnapshotReceiver, @unchecked Sendable {
  // Used on the intake's thread only, apart from what does not change.
  private let intake: SnapshotIntake
  private let message: Raft.Message
  private let metadata: SnapshotMetadata
  private let bytesMax: Int
  private let path: String
  private let start = MonotonicTime.now
  private var file: LMDBStorage?
  private var builder: SnapshotBuilder?
  private var parser = RecordParser()
  private var receivedBytes = 0
  private var digest = SnapshotDigest()
  private let hasEnded = Atomic<Bool>(false)

  /// The file may be twice as large as was announced, since the leader's pages may be fuller than the new
  /// ones, and by twice this larger.
  private static let fileSlackBytes = 8 << 20

  init(
    _ intake: SnapshotIntake,
    _ message: Raft.Message,
    _ metadata: SnapshotMetadata,
    bytesMax: Int
  ) {
    self.intake = intake
    self.message = message
    self.metadata = metadata
    self.bytesMax = bytesMax
    path = "\(intake.directory)/\(SnapshotFiles.incomingPrefix)\(UInt64.random(in: 0 ... .max))"
  }

  func receive(_ data: [UInt8]) async throws {
    do {
      try await intake.onThread { try self.take(data) }
    } catch {
      abandon()
      throw error
    }
  }

  func finish(sha256: [UInt8]) async throws {
    do {
      let snapshot = try await intake.onThread { try self.complete(sha256) }
      let isTaken = await intake.offer(snapshot, message)
      log(isTaken: isTaken)
      if isTaken {
        end {}
      } else {
        abandon()
      }
    } catch {
      intake.logger.error(
        "the leader's snapshot is refused",
        metadata: ["index": "\(metadata.index)", "cause": "\(error)"]
      )
      abandon()
      throw error
    }
  }

  func abandon() {
    end {
      self.closeFile()
      self.intake.storage.abandonInstall()
      SnapshotFiles.remove(self.path)
    }
  }

  /// Lets the next snapshot come, once, after `cleanUp`.
  private func end(_ cleanUp: @escaping @Sendable () -> Void) {
    guard !hasEnded.exchange(true, ordering: .relaxed) else { return }
    intake.post {
      cleanUp()
      self.intake.isDone()
    }
  }

  private func log(isTaken: Bool) {
    let seconds = Double(MonotonicTime.now.nanoseconds(since: start)) / 1e9
    intake.logger.info(
      isTaken ? "a snapshot was received and verified" : "a snapshot came that is not needed",
      metadata: [
        "index": "\(metadata.index)", "bytes": "\(receivedBytes)", "seconds": "\(seconds)",
        "megabytesPerSecond": "\(Double(receivedBytes) / max(seconds, 1e-3) / 1e6)",
      ]
    )
  }

  private func closeFile() {
    builder = nil
    file?.close()
    file = nil
  }

  /// Reads a part, which is as it was sent, into the store.
  private func take(_ part: [UInt8]) throws {
    let builder = try self.builder ?? begin()
    try part.withUnsafeBytes { bytes in
      digest.add(bytes)
      guard let records = SnapshotPart.records(of: bytes) else {
        throw IntakeFailure.damagedPart(at: receivedBytes)
      }
      try parser.parse(records) { try builder.take($0) }
    }
    receivedBytes += part.count
    guard let file, file.bytesOnDisk / 2 - Self.fileSlackBytes <= bytesMax else {
      throw IntakeFailure.tooLarge
    }
  }

  private func begin() throws -> SnapshotBuilder {
    var options = LMDBStorage.Options()
    options.syncsCommits = false
    let file = try LMDBStorage(path: path, options: options)
    let builder = SnapshotBuilder(
      into: file,
      at: path,
      announced: metadata,
      clusterID: intake.clusterID
    )
    self.file = file
    self.builder = builder
    return builder
  }

  /// All has come: it is what was sent, and a whole store, durable from here on.
  private func complete(_ sha256: [UInt8]) throws -> ReceivedSnapshot {
    guard digest.value == sha256 else { throw IntakeFailure.otherChecksum }
    try parser.finish()
    let snapshot = try (builder ?? begin()).finish()
    closeFile()
    unlink(path + ".owner")
    try intake.storage.prepareInstall(from: path)
    return snapshot
  }
}

/// Why a snapshot was not taken.
private enum IntakeFailure: Error, CustomStringConvertible {
  case damagedPart(at: Int)
  case otherChecksum
  case tooLarge

  var description: String {
    switch self {
    case .damagedPart(let offset):
      "the snapshot's part at byte \(offset) was damaged on its way"
    case .otherChecksum: "the snapshot's SHA-256 is wrong: parts are missing or out of order"
    case .tooLarge: "the snapshot takes more space than was announced"
    }
  }
}

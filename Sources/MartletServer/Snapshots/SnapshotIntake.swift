package import Base
import Crypto
import Glibc
package import Logging
package import Peer
package import Raft
package import Replica
package import Storage
import Synchronization

/// Takes the snapshots that the leader sends, one at a time: into a file, which is checked and read
/// before Raft hears of it (P5).
package final class SnapshotIntake: Sendable {
  /// Hands a snapshot to the replica; answers whether it is going to be installed.
  package typealias Offer =
    @Sendable (_ snapshot: ReceivedSnapshot, _ message: Raft.Message) async -> Bool

  let storage: LMDBStorage
  let directory: String
  let clusterID: ClusterID
  let logger: Logger
  let offer: Offer
  /// Where files are written and read: neither an event loop nor a pool of tasks may wait for disks.
  private let mailbox = Mailbox<@Sendable () -> Void>()
  private let thread: WorkerThread
  private let isBusy = Atomic<Bool>(false)

  /// How the files are named.
  static let namePrefix = "incoming-"
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

  /// Receives what `message` announces; nil while another is received, or when it does not fit the
  /// disk.
  package func makeReceiver(_ message: Raft.Message, totalBytes: UInt64) -> (any SnapshotReceiver)?
  {
    guard let metadata = message.snapshot, let bytes = Int(exactly: totalBytes), bytes > 0 else {
      return nil
    }
    guard hasRoom(for: bytes) else {
      logger.error("the leader's snapshot does not fit the disk", metadata: ["bytes": "\(bytes)"])
      return nil
    }
    guard !isBusy.exchange(true, ordering: .acquiringAndReleasing) else { return nil }
    logger.info(
      "receiving a snapshot",
      metadata: ["index": "\(metadata.index)", "term": "\(metadata.term)", "bytes": "\(bytes)"]
    )
    return IncomingSnapshotFile(self, message, metadata, totalBytes: bytes)
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
private final class IncomingSnapshotFile: SnapshotReceiver, @unchecked Sendable {
  // Used on the intake's thread only, apart from what does not change.
  private let intake: SnapshotIntake
  private let message: Raft.Message
  private let metadata: SnapshotMetadata
  private let totalBytes: Int
  private let path: String
  private let start = MonotonicTime.now
  private var descriptor: Int32 = -1
  private var written = 0
  private var digest = SHA256()
  private let hasEnded = Atomic<Bool>(false)

  init(
    _ intake: SnapshotIntake,
    _ message: Raft.Message,
    _ metadata: SnapshotMetadata,
    totalBytes: Int
  ) {
    self.intake = intake
    self.message = message
    self.metadata = metadata
    self.totalBytes = totalBytes
    path = "\(intake.directory)/\(SnapshotIntake.namePrefix)\(UInt64.random(in: 0 ... .max))"
  }

  func receive(_ data: [UInt8]) async throws {
    do {
      try await intake.onThread { try self.write(data) }
    } catch {
      abandon()
      throw error
    }
  }

  func finish(sha256: [UInt8]) async throws {
    do {
      let snapshot = try await intake.onThread { try self.verify(sha256) }
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
        "index": "\(metadata.index)", "bytes": "\(totalBytes)", "seconds": "\(seconds)",
        "megabytesPerSecond": "\(Double(totalBytes) / max(seconds, 1e-3) / 1e6)",
      ]
    )
  }

  private func closeFile() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
  }

  private func write(_ data: [UInt8]) throws {
    if descriptor < 0 {
      descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else { throw IntakeFailure.file("making", errno) }
    }
    guard data.count <= totalBytes - written else { throw IntakeFailure.tooLong }
    var rest = data[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw IntakeFailure.file("writing", errno) }
      rest = rest.dropFirst(count)
    }
    data.withUnsafeBytes { digest.update(bufferPointer: $0) }
    written += data.count
  }

  /// What was received is complete, sound, and what it was announced to be.
  private func verify(_ sha256: [UInt8]) throws -> ReceivedSnapshot {
    guard written == totalBytes else { throw IntakeFailure.cutOff(written, of: totalBytes) }
    guard Array(digest.finalize()) == sha256 else { throw IntakeFailure.otherChecksum }
    guard fsync(descriptor) == 0 else { throw IntakeFailure.file("syncing", errno) }
    closeFile()
    try LMDBStorage.check(copyAt: path)
    let snapshot: ReceivedSnapshot
    do {
      let file = try LMDBStorage(path: path)
      defer { file.close() }
      snapshot = try ReceivedSnapshot(
        reading: file,
        at: path,
        announced: metadata,
        clusterID: intake.clusterID
      )
    }
    unlink(path + ".owner")
    try intake.storage.prepareInstall(from: path)
    return snapshot
  }
}

/// Why a snapshot was not taken.
private enum IntakeFailure: Error, CustomStringConvertible {
  case file(String, Int32)
  case tooLong
  case cutOff(Int, of: Int)
  case otherChecksum

  var description: String {
    switch self {
    case .file(let operation, let code):
      "\(operation) the snapshot's file failed: errno \(code)"
    case .tooLong: "the snapshot is longer than was announced"
    case .cutOff(let count, let total): "the snapshot ends after \(count) of \(total) bytes"
    case .otherChecksum: "the snapshot's SHA-256 is wrong: it was damaged on its way"
    }
  }
}

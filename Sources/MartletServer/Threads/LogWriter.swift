import Base
import Log
import Replica

/// The thread that owns the log: writes what the replica hands over and says when it is durable.
///
/// Everything that waits is written together and synced once: while the disk works, the next
/// batch gathers.
final class LogWriter: Sendable {
  enum Work: Sendable {
    case write(ReplicaOutput.Write)
    /// The store holds everything up to the mark; the log need not.
    case release(LogMark)
    case stop
  }

  /// What the writer reports. Called on its thread.
  enum Report: Sendable {
    case persisted(through: UInt64)
    /// There is no room. The writer keeps what it was given and tries again until there is.
    case diskFull(LogError)
    /// There is room again, and everything given so far is durable.
    case recovered
    /// Nothing is known of what was written last. The member must stop.
    case failed(LogError)
  }

  private let mailbox = Mailbox<Work>()
  private let thread: WorkerThread

  /// How long to wait before trying a full disk again.
  static let retryNanoseconds: UInt64 = 500_000_000

  init(
    log: SegmentedLog<PosixFileSystem>, metrics: DiskMetrics,
    report: @escaping @Sendable (Report) -> Void
  ) {
    let mailbox = mailbox
    let worker = LogWriterLoop(log: log, metrics: metrics, report: report)
    thread = WorkerThread(name: "martlet-log") {
      worker.run(mailbox)
    }
  }

  func post(_ work: Work) {
    mailbox.post(work)
  }

  /// Writes what was posted, then ends the thread.
  func stop() {
    mailbox.post(.stop)
    thread.join()
  }
}

/// The body of the log writer's thread.
private final class LogWriterLoop: @unchecked Sendable {
  // Used on the log writer's thread only.
  private let log: SegmentedLog<PosixFileSystem>
  private let metrics: DiskMetrics
  private let report: @Sendable (LogWriter.Report) -> Void
  private var work: [LogWriter.Work] = []
  private var isStopping = false

  init(
    log: SegmentedLog<PosixFileSystem>, metrics: DiskMetrics,
    report: @escaping @Sendable (LogWriter.Report) -> Void
  ) {
    self.log = log
    self.metrics = metrics
    self.report = report
  }

  func run(_ mailbox: Mailbox<LogWriter.Work>) {
    while !isStopping {
      mailbox.takeAll(into: &work)
      do throws(LogError) {
        try writeAll(mailbox)
        try releaseAll()
        try log.prepareNext()
      } catch {
        report(.failed(error))
        return
      }
    }
  }

  /// Writes every batch that waits and syncs them together.
  private func writeAll(_ mailbox: Mailbox<LogWriter.Work>) throws(LogError) {
    var last: UInt64?
    for item in work {
      switch item {
      case .write(let write):
        try append(write)
        last = write.sequence
      case .release:
        break
      case .stop:
        isStopping = true
      }
    }
    guard let last else { return }
    let start = MonotonicTime.now
    try log.sync()
    metrics.syncs.observe(nanoseconds: MonotonicTime.now.nanoseconds(since: start))
    report(.persisted(through: last))
  }

  /// Appends one batch, waiting for space as long as it takes. Nothing of a batch that met a full
  /// disk was written, so appending it again is safe.
  private func append(_ write: ReplicaOutput.Write) throws(LogError) {
    var wasFull = false
    while true {
      do throws(LogError) {
        try log.append(write.batch)
        metrics.bytesWritten.add(write.batch.byteCount)
        if wasFull { report(.recovered) }
        return
      } catch .diskFull(let file) {
        if !wasFull { report(.diskFull(.diskFull(file: file))) }
        wasFull = true
        waitForSpace()
        try reopen()
      } catch {
        throw error
      }
    }
  }

  private func waitForSpace() {
    var pause = timespec(tv_sec: 0, tv_nsec: Int(LogWriter.retryNanoseconds))
    nanosleep(&pause, nil)
  }

  private func reopen() throws(LogError) {
    do throws(LogError) {
      try log.reopen()
    } catch .diskFull {
      return
    } catch {
      throw error
    }
  }

  private func releaseAll() throws(LogError) {
    for item in work {
      guard case .release(let mark) = item else { continue }
      try log.recordSnapshot(mark.snapshotMark)
      log.release(through: mark.index)
    }
  }
}

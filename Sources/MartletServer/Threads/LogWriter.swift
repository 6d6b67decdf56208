import Base
import Glibc
import Log
import Replica
import Synchronization

/// The thread that owns the log: writes what the replica hands over and says when it is durable.
///
/// Everything that waits is written together and synced once: while the disk works, the next
/// batch gathers. A second thread prepares segments ahead, so that moving on to one costs nothing.
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
    /// The disk is full or fails. The writer keeps what is not durable and tries again until it is.
    case stalled(LogError)
    /// The disk takes writes again, and everything given so far is durable.
    case recovered
  }

  private let mailbox = Mailbox<Work>()
  private let preparations = Mailbox<Void>()
  private let isStopping: StopFlag
  private let thread: WorkerThread
  private let preparer: WorkerThread

  init(
    log: SegmentedLog<PosixFileSystem>, metrics: DiskMetrics,
    report: @escaping @Sendable (Report) -> Void
  ) {
    let (mailbox, preparations, flag) = (mailbox, preparations, StopFlag())
    isStopping = flag
    let segments = log.preparer
    preparer = WorkerThread(name: "martlet-segment") {
      while preparations.takeOne() != nil {
        // The writer meets the same error when it needs the segment, and reports it.
        try? segments.prepare()
      }
    }
    let worker = LogWriterLoop(
      log: log, metrics: metrics, preparations: preparations, isStopping: flag, report: report)
    thread = WorkerThread(name: "martlet-log") {
      worker.run(mailbox)
    }
  }

  func post(_ work: Work) {
    mailbox.post(work)
  }

  /// Writes what was posted, unless the disk refuses it, then ends the threads.
  func stop() {
    mailbox.post(.stop)
    isStopping.set()
    thread.join()
    preparations.close()
    preparer.join()
  }
}

/// Tells a thread that waits for its disk to give up.
private final class StopFlag: Sendable {
  private let flag = Atomic<Bool>(false)

  func set() { flag.store(true, ordering: .relaxed) }
  var isSet: Bool { flag.load(ordering: .relaxed) }
}

/// The body of the log writer's thread.
private final class LogWriterLoop: @unchecked Sendable {
  // Used on the log writer's thread only.
  private let log: SegmentedLog<PosixFileSystem>
  private let metrics: DiskMetrics
  private let preparations: Mailbox<Void>
  private let isStopping: StopFlag
  private let report: @Sendable (LogWriter.Report) -> Void
  /// What was given and is not durable yet, in order.
  private var undurable: [ReplicaOutput.Write] = []
  /// The newest mark that the log has not recorded yet.
  private var release: LogMark?
  private var hasStopped = false

  /// How long to wait before trying a refusing disk again.
  private static let retryNanoseconds = 250_000_000

  init(
    log: SegmentedLog<PosixFileSystem>, metrics: DiskMetrics, preparations: Mailbox<Void>,
    isStopping: StopFlag, report: @escaping @Sendable (LogWriter.Report) -> Void
  ) {
    self.log = log
    self.metrics = metrics
    self.preparations = preparations
    self.isStopping = isStopping
    self.report = report
  }

  func run(_ mailbox: Mailbox<LogWriter.Work>) {
    var work: [LogWriter.Work] = []
    while !hasStopped {
      mailbox.takeAll(into: &work)
      for item in work {
        switch item {
        case .write(let write): undurable.append(write)
        case .release(let mark): release = mark
        case .stop: hasStopped = true
        }
      }
      writeAll()
      if log.needsPreparation { preparations.post(()) }
    }
  }

  /// Makes everything that waits durable, however long the disk takes to accept it.
  private func writeAll() {
    var isStalled = false
    while true {
      do throws(LogError) {
        if isStalled { try log.reopen() }
        try writeOnce()
        if isStalled { report(.recovered) }
        return
      } catch {
        if !isStalled { report(.stalled(error)) }
        isStalled = true
        if isStopping.isSet { return }
        var pause = timespec(tv_sec: 0, tv_nsec: Self.retryNanoseconds)
        nanosleep(&pause, nil)
      }
    }
  }

  /// Appends what waits, syncs once, and reports. When it throws, nothing of what waits counts as
  /// written, and all of it is appended again after `reopen`.
  private func writeOnce() throws(LogError) {
    for write in undurable { try log.append(write.batch) }
    if let mark = release {
      let snapshot = mark.snapshotMark
      try log.recordSnapshot(
        index: snapshot.index, term: snapshot.term, confState: snapshot.confState)
    }
    let start = MonotonicTime.now
    try log.sync()
    metrics.syncs.observe(nanoseconds: MonotonicTime.now.nanoseconds(since: start))
    if let last = undurable.last {
      for write in undurable { metrics.bytesWritten.add(write.batch.byteCount) }
      undurable.removeAll(keepingCapacity: true)
      report(.persisted(through: last.sequence))
    }
    if let mark = release {
      log.release(through: mark.index)
      release = nil
    }
  }
}

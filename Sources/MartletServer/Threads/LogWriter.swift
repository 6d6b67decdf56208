import Base
import CoreMetrics
import Glibc
import Log
import Replica
import Synchronization

/// Owns the log: writes what the replica hands over and says when it is durable.
///
/// `post` leaves the work to the writer's thread, where everything that waits is written together
/// and synced once: while the disk works, the next batch gathers. `writeNow` does it on the caller's
/// thread, which saves two hand-overs when there is little to write. Another thread prepares
/// segments ahead, so that moving on to one costs nothing.
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
  private let worker: LogWriterWorker
  private let thread: WorkerThread
  private let preparer: WorkerThread

  init(
    log: SegmentedLog<PosixFileSystem>,
    metrics: MemberMetrics,
    report: @escaping @Sendable (Report) -> Void
  ) {
    let (mailbox, preparations) = (mailbox, preparations)
    let segments = log.preparer
    preparer = WorkerThread(name: "martlet-segment") {
      while preparations.takeOne() != nil {
        // The writer meets the same error when it needs the segment, and reports it.
        try? segments.prepare()
      }
    }
    let worker = LogWriterWorker(
      log: log,
      metrics: metrics,
      preparations: preparations,
      report: report
    )
    self.worker = worker
    thread = WorkerThread(name: "martlet-log") {
      worker.run(mailbox)
    }
  }

  func post(_ work: Work) {
    mailbox.post(work)
  }

  /// Makes the writes durable here and now. Only for a caller that waits for none of what it posted
  /// before, so that the order is kept. Returns false, with nothing written, when the disk refuses,
  /// the thread is at work or the log's next segment is due: post them then.
  func writeNow(_ writes: [ReplicaOutput.Write]) -> Bool {
    worker.writeNow(writes)
  }

  /// Writes what was posted, unless the disk refuses it, then ends the threads.
  func stop() {
    mailbox.post(.stop)
    worker.giveUp()
    thread.join()
    preparations.close()
    preparer.join()
  }
}

/// What the writer's thread does, and `writeNow` beside it: one at a time.
private final class LogWriterWorker: Sendable {
  private struct State {
    /// None once the writer has stopped: its files are closed then.
    var log: SegmentedLog<PosixFileSystem>?
    /// What was given and is not durable yet, in order.
    var undurable: [ReplicaOutput.Write] = []
    /// The newest mark that the log has not recorded yet.
    var release: LogMark?
  }

  private let state: Mutex<State>
  private let metrics: MemberMetrics
  private let preparations: Mailbox<Void>
  private let report: @Sendable (LogWriter.Report) -> Void
  private let isGivingUp = Atomic<Bool>(false)

  /// How long to wait before trying a refusing disk again.
  private static let retryMicroseconds: UInt32 = 250_000

  init(
    log: SegmentedLog<PosixFileSystem>,
    metrics: MemberMetrics,
    preparations: Mailbox<Void>,
    report: @escaping @Sendable (LogWriter.Report) -> Void
  ) {
    state = Mutex(State(log: log))
    self.metrics = metrics
    self.preparations = preparations
    self.report = report
  }

  /// Tells a thread that waits for its disk not to.
  func giveUp() {
    isGivingUp.store(true, ordering: .relaxed)
  }

  func run(_ mailbox: Mailbox<LogWriter.Work>) {
    var work: [LogWriter.Work] = []
    var hasStopped = false
    while !hasStopped {
      mailbox.takeAll(into: &work)
      state.withLock { state in
        for item in work {
          switch item {
          case .write(let write): state.undurable.append(write)
          case .release(let mark): state.release = mark
          case .stop: hasStopped = true
          }
        }
        writeAll(&state)
        if hasStopped { state.log = nil }
      }
    }
  }

  func writeNow(_ writes: [ReplicaOutput.Write]) -> Bool {
    state.withLockIfAvailable { state in
      guard let log = state.log, state.undurable.isEmpty,
        writes.reduce(0, { $0 + $1.batch.paddedByteCount }) <= log.roomBytes
      else { return false }
      state.undurable = writes
      do throws(LogError) {
        try write(&state)
        return true
      } catch {
        // The thread meets the error again, and deals with it. As all would have gone into one
        // segment, none of it is durable.
        state.undurable = []
        return false
      }
    } ?? false
  }

  /// Makes everything that waits durable, however long the disk takes to accept it.
  private func writeAll(_ state: inout State) {
    var isStalled = false
    while true {
      do throws(LogError) {
        if isStalled { try reopen(&state) }
        if let last = try write(&state) { report(.persisted(through: last)) }
        if isStalled { report(.recovered) }
        return
      } catch {
        if !isStalled { report(.stalled(error)) }
        isStalled = true
        if isGivingUp.load(ordering: .relaxed) { return }
        usleep(Self.retryMicroseconds)
      }
    }
  }

  /// Makes the log usable again and lets go of the writes that it already has. A mark may be among
  /// them, the last; that one may be recorded again.
  private func reopen(_ state: inout State) throws(LogError) {
    guard let log = state.log else { return }
    let durable = state.undurable.prefix(try log.reopen())
    guard let last = durable.last else { return }
    report(.persisted(through: last.sequence))
    state.undurable.removeFirst(durable.count)
  }

  /// Appends what waits and syncs once; returns the last write's sequence. When it throws, what of it
  /// is durable is known after `reopen`.
  @discardableResult
  private func write(_ state: inout State) throws(LogError) -> UInt64? {
    guard let log = state.log else { return nil }
    let begin = MonotonicTime.now
    for write in state.undurable { try log.append(write.batch) }
    if let mark = state.release {
      let snapshot = mark.snapshotMark
      try log.recordSnapshot(
        index: snapshot.index,
        term: snapshot.term,
        confState: snapshot.confState
      )
    }
    let start = MonotonicTime.now
    try log.sync()
    metrics.logWrites.recordNanoseconds(Int64(clamping: start.nanoseconds(since: begin)))
    metrics.logSyncs.recordNanoseconds(since: start)
    let last = state.undurable.last?.sequence
    metrics.logBytesWritten.increment(
      by: Double(state.undurable.reduce(0) { $0 + $1.batch.byteCount })
    )
    state.undurable.removeAll(keepingCapacity: true)
    if let mark = state.release {
      log.release(through: mark.index)
      state.release = nil
    }
    if log.needsPreparation { preparations.post(()) }
    return last
  }
}

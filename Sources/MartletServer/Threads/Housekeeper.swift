import Base
import CoreMetrics
import Glibc
import MVCC
import Replica
import Storage

/// The thread for slow work on the store that must not hold up requests: flushes, and the removal of
/// compacted revisions.
final class Housekeeper: Sendable {
  enum Work: Sendable {
    case flush(ReplicaOutput.Flush)
    /// There may be revisions to remove.
    case compact
    case task(@Sendable () -> Void)
    case stop
  }

  /// What the housekeeper reports. Called on its thread.
  enum Report: Sendable {
    case flushed(LogMark)
    case flushFailed(StorageError)
    case compacted(Revision)
    case compactionFailed(StorageError)
  }

  private let mailbox = Mailbox<Work>()
  private let thread: WorkerThread

  init(
    store: Store,
    storage: TieredStorage,
    metrics: MemberMetrics,
    report: @escaping @Sendable (Report) -> Void
  ) {
    let mailbox = mailbox
    let worker = HousekeeperLoop(
      store: store,
      storage: storage,
      metrics: metrics,
      report: report
    )
    thread = WorkerThread(name: "martlet-store") {
      worker.run(mailbox)
    }
  }

  /// Returns false when the housekeeper has stopped.
  @discardableResult
  func post(_ work: Work) -> Bool {
    mailbox.post(work)
  }

  /// Does what was posted, then ends the thread.
  func stop() {
    mailbox.post(.stop)
    thread.join()
    mailbox.close()
  }
}

/// The body of the housekeeper's thread.
private final class HousekeeperLoop: @unchecked Sendable {
  // Used on the housekeeper's thread only.
  private let store: Store
  private let storage: TieredStorage
  private let metrics: MemberMetrics
  private let report: @Sendable (Housekeeper.Report) -> Void
  /// When the file's pages were last given back.
  private var pagesDropped = MonotonicTime.now
  private var work: [Housekeeper.Work] = []
  private var isCompacting = false
  /// When the compaction that runs began.
  private var compactionStart: MonotonicTime?
  /// A flush that failed. It must succeed before any later one.
  private var failedFlush: ReplicaOutput.Flush?
  private var isStopping = false
  /// After a failure of the disk, when to try again.
  private var retryAt: MonotonicTime?

  /// How long to wait before trying a failed flush or compaction again.
  private static let retryNanoseconds: UInt64 = 1_000_000_000
  /// How often pages are given back at most.
  private static let dropPagesNanoseconds: UInt64 = 10_000_000_000
  /// How many keys one step of a compaction looks at.
  private static let compactionStepKeys = 1000
  /// Pause between steps, so that a compaction leaves the machine to the requests.
  private static let compactionPauseNanoseconds: UInt64 = 1_000_000

  init(
    store: Store,
    storage: TieredStorage,
    metrics: MemberMetrics,
    report: @escaping @Sendable (Housekeeper.Report) -> Void
  ) {
    self.storage = storage
    self.store = store
    self.metrics = metrics
    self.report = report
  }

  func run(_ mailbox: Mailbox<Housekeeper.Work>) {
    while !isStopping {
      mailbox.takeAll(into: &work, until: deadline)
      for item in work { carryOut(item) }
      if let failedFlush, isRetryDue { run(failedFlush) }
      if isCompacting && failedFlush == nil && !isStopping { stepCompaction() }
    }
  }

  /// When to wake up without new work.
  private var deadline: MonotonicTime? {
    if let retryAt { return retryAt }
    return isCompacting
      ? MonotonicTime.now.advanced(byNanoseconds: Self.compactionPauseNanoseconds) : nil
  }

  private func carryOut(_ item: Housekeeper.Work) {
    switch item {
    case .flush(let flush):
      run(flush)
    case .compact:
      isCompacting = true
    case .task(let body):
      body()
    case .stop:
      isStopping = true
    }
  }

  private var isRetryDue: Bool { retryAt.map { MonotonicTime.now >= $0 } ?? true }

  /// Runs a flush. One that fails is kept and tried again: nothing of it is lost, its content is in
  /// memory and in the log.
  private func run(_ flush: ReplicaOutput.Flush) {
    let start = MonotonicTime.now
    do throws(StorageError) {
      try flush.job.run()
      store.finish(flush.job)
      failedFlush = nil
      retryAt = nil
      metrics.commits.recordNanoseconds(since: start)
      report(.flushed(flush.mark))
      dropPagesIfDue()
    } catch {
      failedFlush = flush
      retryAt = MonotonicTime.now.advanced(byNanoseconds: Self.retryNanoseconds)
      report(.flushFailed(error))
    }
  }

  /// Gives the pages of the file that reads and writes mapped back to the system's cache, now and
  /// then, so that resident memory does not grow to the size of the store.
  private func dropPagesIfDue() {
    let now = MonotonicTime.now
    guard now.nanoseconds(since: pagesDropped) >= Self.dropPagesNanoseconds else { return }
    pagesDropped = now
    storage.base.dropResidentPages()
  }

  private func noteCompacted() {
    isCompacting = false
    // At the start there is a look at whether an earlier life left work; often there was none.
    guard let start = compactionStart else { return }
    compactionStart = nil
    metrics.compactions.recordMilliseconds(since: start)
    metrics.lastCompaction.record(time(nil))
  }

  private func stepCompaction() {
    guard isRetryDue else { return }
    retryAt = nil
    let start = MonotonicTime.now
    let pauses =
      store.isCompactingIndex ? metrics.indexCompactionPauses : metrics.compactionPauses
    do throws(StorageError) {
      let hasMore = try store.compactionStep(limit: Self.compactionStepKeys)
      pauses.recordMilliseconds(since: start)
      if hasMore {
        compactionStart = compactionStart ?? start
        return
      }
      noteCompacted()
      report(.compacted(store.finishedCompaction))
    } catch {
      retryAt = MonotonicTime.now.advanced(byNanoseconds: Self.retryNanoseconds)
      report(.compactionFailed(error))
    }
  }
}

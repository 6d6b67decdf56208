import Glibc
import Logging
import Storage
import Synchronization

/// The thread that gives the disk back what deletes and compactions freed, as `SpacePolicy` says:
/// nobody has to defragment by hand.
final class SpaceReclaimer: Sendable {
  private let mailbox = Mailbox<Void>()
  private let isStopping = DropFlag()
  private let thread: WorkerThread

  /// How often the sizes are looked at.
  private static let checkNanoseconds: UInt64 = 5_000_000_000

  /// `directory` is where the store's file lies.
  init(
    storage: TieredStorage,
    directory: String,
    policy: SpacePolicy = SpacePolicy(),
    checkNanoseconds: UInt64 = SpaceReclaimer.checkNanoseconds,
    metrics: MemberMetrics,
    logger: Logger
  ) {
    let (mailbox, isStopping) = (mailbox, isStopping)
    thread = WorkerThread(name: "martlet-space") {
      var policy = policy
      var wakeUps: [Void] = []
      while !isStopping.isSet {
        mailbox.takeAll(
          into: &wakeUps,
          until: MonotonicTime.now.advanced(byNanoseconds: checkNanoseconds)
        )
        if isStopping.isSet { return }
        let begin = MonotonicTime.now.nanoseconds
        let sizes = Self.sizes(storage, directory)
        guard policy.shouldBegin(sizes, now: begin) else { continue }
        Self.reclaim(storage, isStopping, metrics, logger)
        policy.ended(begin: begin, now: MonotonicTime.now.nanoseconds)
      }
    }
  }

  /// Ends the thread; a rewrite under way is given up.
  func stop() {
    isStopping.set()
    mailbox.post(())
    thread.join()
    mailbox.close()
  }

  private static func sizes(_ storage: TieredStorage, _ directory: String) -> SpacePolicy.Sizes {
    var status = statvfs()
    let isKnown = statvfs(directory, &status) == 0
    return SpacePolicy.Sizes(
      bytesOnDisk: storage.base.bytesOnDisk,
      bytesInUse: storage.base.bytesInUse,
      freeBytes: isKnown ? Int(clamping: status.f_bavail) * Int(status.f_frsize) : 0
    )
  }

  private static func reclaim(
    _ storage: TieredStorage,
    _ isStopping: DropFlag,
    _ metrics: MemberMetrics,
    _ logger: Logger
  ) {
    let before = storage.base.bytesOnDisk
    do throws(StorageError) {
      try metrics.measureDefragment { () throws(StorageError) in
        try storage.defragment(isCancelled: { isStopping.isSet })
      }
      logger.info(
        "the store's file was rewritten without its holes",
        metadata: ["before": "\(before)", "after": "\(storage.base.bytesOnDisk)"]
      )
    } catch .cancelled {
      return
    } catch {
      logger.warning("rewriting the store's file failed", metadata: ["cause": "\(error)"])
    }
  }
}

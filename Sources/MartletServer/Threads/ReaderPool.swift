import Base
import MVCC
import Proto
import RPC
import Replica
import Storage
import Synchronization

/// Threads for reads that are too long for an event loop: ranges over many keys, hashes, streams.
final class ReaderPool: Sendable {
  /// A job runs on a pool thread with that thread's reader and arena.
  typealias Job = @Sendable (StoreReader, Arena) -> Void

  private let mailbox = Mailbox<Job>()
  private let waiting = Counting()
  /// How many jobs may wait. What a job holds is bounded by the size of its request.
  private let waitingMax: Int
  private let threads: [WorkerThread]

  init(store: Store, threadCount: Int, waitingMax: Int) {
    self.waitingMax = waitingMax
    let (mailbox, waiting) = (mailbox, waiting)
    threads = (0..<threadCount).map { number in
      WorkerThread(name: "martlet-read-\(number)") {
        let reader = store.makeReader()
        let arena = Arena()
        while let job = mailbox.takeOne() {
          waiting.count.wrappingSubtract(1, ordering: .relaxed)
          job(reader, arena)
        }
      }
    }
  }

  /// Whether another job may be taken from a client. Streams under way go on regardless: they are
  /// one job each.
  var hasRoom: Bool { waiting.count.load(ordering: .relaxed) < waitingMax }

  /// Returns false when the pool has stopped.
  @discardableResult
  func submit(_ job: @escaping Job) -> Bool {
    waiting.count.wrappingAdd(1, ordering: .relaxed)
    return mailbox.post(job)
  }

  private final class Counting: Sendable {
    let count = Atomic<Int>(0)
  }

  /// Lets the jobs under way finish and drops those that wait.
  func stop() {
    mailbox.close()
    for thread in threads { thread.join() }
  }
}

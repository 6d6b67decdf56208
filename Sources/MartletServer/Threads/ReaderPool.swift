import Base
import MVCC
import Proto
import RPC
import Replica
import Storage

/// Threads for reads that are too long for an event loop: ranges over many keys, hashes, streams.
final class ReaderPool: Sendable {
  /// A job runs on a pool thread with that thread's reader and arena.
  typealias Job = @Sendable (StoreReader, Arena) -> Void

  private let mailbox = Mailbox<Job>()
  private let threads: [WorkerThread]

  init(store: Store, threadCount: Int) {
    let mailbox = mailbox
    threads = (0..<threadCount).map { number in
      WorkerThread(name: "martlet-read-\(number)") {
        let reader = store.makeReader()
        let arena = Arena()
        while let job = mailbox.takeOne() { job(reader, arena) }
      }
    }
  }

  /// Returns false when the pool has stopped.
  @discardableResult
  func submit(_ job: @escaping Job) -> Bool {
    mailbox.post(job)
  }

  /// Lets the jobs under way finish and drops those that wait.
  func stop() {
    mailbox.close()
    for thread in threads { thread.join() }
  }
}

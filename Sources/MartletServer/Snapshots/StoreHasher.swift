import Base
import CoreMetrics
import MVCC
import Replica
import Synchronization

/// HashKV for comparisons between members: one at a time, on a thread of the reader pool, so that it
/// never takes more of a member than one long read of a client does.
final class StoreHasher: Sendable {
  private let store: Store
  private let readers: ReaderPool
  private let metrics: MemberMetrics
  private let isBusy = Atomic<Bool>(false)

  init(store: Store, readers: ReaderPool, metrics: MemberMetrics) {
    self.store = store
    self.readers = readers
    self.metrics = metrics
  }

  /// The hash of the history up to a revision. Reads the whole store. Throws what the store says,
  /// `.tooManyRequests` while another is under way, or `.serverStopped`.
  func hash(at revision: Revision) async throws(RequestError) -> RevisionHash {
    guard readers.hasRoom, !isBusy.exchange(true, ordering: .acquiring) else {
      throw .tooManyRequests
    }
    defer { isBusy.store(false, ordering: .releasing) }
    let result = await withCheckedContinuation { continuation in
      let waiting = Waiting(continuation)
      readers.submit { [store, metrics] reader, _ in
        do throws(StoreError) {
          let hash = try MemberMetrics.measure(metrics.revisionHashes) { () throws(StoreError) in
            try store.hashKV(revision: revision, reader: reader)
          }
          waiting.end(.success(hash))
        } catch {
          waiting.end(.failure(RequestError(error)))
        }
      }
    }
    return try result.get()
  }

  /// Who waits for a job of the pool; when the pool stops and drops the job, he hears of that.
  private final class Waiting: Sendable {
    typealias Answer = Result<RevisionHash, RequestError>

    private let continuation: Mutex<CheckedContinuation<Answer, Never>?>

    init(_ continuation: CheckedContinuation<Answer, Never>) {
      self.continuation = Mutex(continuation)
    }

    deinit { end(.failure(.serverStopped)) }

    func end(_ answer: Answer) {
      continuation.withLock { waiting in
        defer { waiting = nil }
        return waiting
      }?.resume(returning: answer)
    }
  }
}

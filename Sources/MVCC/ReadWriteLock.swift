#if canImport(Glibc)
import Glibc
#endif

/// Many readers or one writer; a waiting writer goes before new readers. Not recursive.
final class ReadWriteLock: @unchecked Sendable {
  // The lock is made for being shared; its memory does not move.
  private let lock = UnsafeMutablePointer<pthread_rwlock_t>.allocate(capacity: 1)

  init() {
    var attributes = pthread_rwlockattr_t()
    pthread_rwlockattr_init(&attributes)
    pthread_rwlockattr_setkind_np(
      &attributes,
      Int32(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    )
    let code = pthread_rwlock_init(lock, &attributes)
    precondition(code == 0, "pthread_rwlock_init: \(code)")
    pthread_rwlockattr_destroy(&attributes)
  }

  deinit {
    pthread_rwlock_destroy(lock)
    lock.deallocate()
  }

  @inline(__always)
  func lockForReading() {
    let code = pthread_rwlock_rdlock(lock)
    precondition(code == 0, "pthread_rwlock_rdlock: \(code)")
  }

  @inline(__always)
  func lockForWriting() {
    let code = pthread_rwlock_wrlock(lock)
    precondition(code == 0, "pthread_rwlock_wrlock: \(code)")
  }

  @inline(__always)
  func unlock() {
    pthread_rwlock_unlock(lock)
  }
}

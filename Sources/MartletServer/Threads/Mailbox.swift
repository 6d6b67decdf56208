import Glibc

/// A queue into one thread: any thread posts, the owner takes everything that waits at once.
/// (Or into a pool of threads that take one element each.)
///
/// A post wakes the owner only when it sleeps, so a busy owner costs its senders no system call.
final class Mailbox<Element: Sendable>: @unchecked Sendable {
  // `elements`, `sleepers` and `isClosed` are guarded by `mutex`.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var elements: [Element] = []
  private var sleepers = 0
  private var isClosed = false

  init() {
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Appends an element. Returns false, and drops it, when the owner has closed the mailbox.
  @discardableResult
  func post(_ element: consuming Element) -> Bool {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    guard !isClosed else { return false }
    elements.append(element)
    if sleepers > 0 { pthread_cond_signal(condition) }
    return true
  }

  /// Takes all that waits, in the order posted; sleeps while there is nothing, at most until
  /// `deadline`. `taken` is emptied first and its memory is reused for the next elements.
  func takeAll(into taken: inout [Element], until deadline: MonotonicTime? = nil) {
    taken.removeAll(keepingCapacity: true)
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while elements.isEmpty && !isClosed {
      sleepers += 1
      defer { sleepers -= 1 }
      if let deadline {
        var limit = deadline.timespec
        if pthread_cond_timedwait(condition, mutex, &limit) == ETIMEDOUT { break }
      } else {
        pthread_cond_wait(condition, mutex)
      }
    }
    swap(&taken, &elements)
  }

  /// Takes the oldest element, for mailboxes with several owners; sleeps while there is none.
  /// Returns nil once the mailbox is closed.
  func takeOne() -> Element? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while !isClosed {
      if !elements.isEmpty { return elements.removeFirst() }
      sleepers += 1
      pthread_cond_wait(condition, mutex)
      sleepers -= 1
    }
    return nil
  }

  /// Refuses all further elements and wakes the owners.
  func close() {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    isClosed = true
    pthread_cond_broadcast(condition)
  }
}

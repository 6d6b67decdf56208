import Synchronization

/// Counters for metrics. Any thread may read them.
package final class StoreStatistics: Sendable {
  let putCounter = Atomic<Int>(0)
  let deleteCounter = Atomic<Int>(0)
  let rangeCounter = Atomic<Int>(0)
  let txnCounter = Atomic<Int>(0)
  let putBytesCounter = Atomic<Int>(0)
  let keyGauge = Atomic<Int>(0)
  let compactedKeyCounter = Atomic<Int>(0)

  /// Keys put, those within txns included.
  package var puts: Int { putCounter.load(ordering: .relaxed) }
  /// Keys deleted.
  package var deletes: Int { deleteCounter.load(ordering: .relaxed) }
  /// Ranges answered, those within txns included.
  package var ranges: Int { rangeCounter.load(ordering: .relaxed) }
  /// Txns that wrote or could have written.
  package var txns: Int { txnCounter.load(ordering: .relaxed) }
  /// Bytes of all keys and values put.
  package var putBytes: Int { putBytesCounter.load(ordering: .relaxed) }
  /// Keys in the index, deleted ones that wait for compaction included.
  package var keys: Int { keyGauge.load(ordering: .relaxed) }
  /// Revisions that compactions have removed.
  package var compactedKeys: Int { compactedKeyCounter.load(ordering: .relaxed) }

  /// Adds to a counter that one thread alone changes: cheaper than an atomic addition.
  @inline(__always)
  static func add(_ amount: Int, to counter: borrowing Atomic<Int>) {
    counter.store(counter.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }
}

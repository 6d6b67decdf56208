package import Synchronization

/// What a transport counts as it goes.
package final class PeerCounters: Sendable {
  /// Messages that came in and were dropped because too much waited.
  package let receivedDropped = Atomic<Int>(0)
  /// Batches that could not be read, or whose messages were not their sender's.
  package let refusedBatches = Atomic<Int>(0)
}

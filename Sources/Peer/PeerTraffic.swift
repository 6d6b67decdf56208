package import Synchronization

/// What goes between a member and one peer, counted since the peer is known. Any thread.
package final class PeerTraffic: Sendable {
  /// Bytes of messages and snapshots.
  package let sentBytes = Atomic<Int>(0)
  package let receivedBytes = Atomic<Int>(0)
  /// Messages that were dropped, or lost with their stream, before they left.
  package let sendFailures = Atomic<Int>(0)
  /// Batches that could not be read, and messages that were dropped because too much waited.
  package let receiveFailures = Atomic<Int>(0)
  /// Whether the stream of heartbeats to the peer stands, and how often it was lost.
  package let isActive = Atomic<Bool>(false)
  package let disconnects = Atomic<Int>(0)
  package let snapshotsSending = Atomic<Int>(0)
  package let snapshotsSent = Atomic<Int>(0)
  package let snapshotSendFailures = Atomic<Int>(0)
  package let snapshotsReceiving = Atomic<Int>(0)
  package let snapshotsReceived = Atomic<Int>(0)
  package let snapshotReceiveFailures = Atomic<Int>(0)
  /// Of questions with a short answer, asked every few seconds while the peer is connected.
  package let roundTrips = DurationCounts(firstBoundSeconds: 0.0001, boundCount: 16)
  /// Of snapshots that were sent, and received, whole.
  package let snapshotSendTimes = DurationCounts(firstBoundSeconds: 0.1, boundCount: 10)
  package let snapshotReceiveTimes = DurationCounts(firstBoundSeconds: 0.1, boundCount: 10)

  init() {}

  func opened() {
    isActive.store(true, ordering: .relaxed)
  }

  func closed() {
    if isActive.exchange(false, ordering: .relaxed) { disconnects.add(1, ordering: .relaxed) }
  }
}

/// How many durations fell under each of a few bounds, each of which is twice the one before.
package final class DurationCounts: Sendable {
  package struct Snapshot: Sendable {
    /// Upper bounds in seconds, ascending.
    package var bounds: [Double]
    /// How many fell under each bound and under none before; the last is of those above all.
    package var counts: [UInt64]
    /// In seconds.
    package var sum: Double
  }

  private let state: Mutex<Snapshot>

  init(firstBoundSeconds: Double, boundCount: Int) {
    state = Mutex(
      Snapshot(
        bounds: (0..<boundCount).map { firstBoundSeconds * Double(1 << $0) },
        counts: Array(repeating: 0, count: boundCount + 1),
        sum: 0
      )
    )
  }

  package var snapshot: Snapshot { state.withLock { $0 } }

  package func note(nanoseconds: UInt64) {
    let seconds = Double(nanoseconds) / 1e9
    state.withLock { state in
      state.counts[state.bounds.firstIndex { seconds <= $0 } ?? state.bounds.count] += 1
      state.sum += seconds
    }
  }
}

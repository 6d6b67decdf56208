import Synchronization
import Watch

/// What metrics tell of watches, over all event loops of a member. Any thread.
final class WatchStatistics: Sendable {
  private let streamGauge = Atomic<Int>(0)
  private let watcherGauge = Atomic<Int>(0)
  private let slowWatcherGauge = Atomic<Int>(0)
  private let pendingEventGauge = Atomic<Int>(0)
  private let eventCounter = Atomic<Int>(0)
  private let requestCounter = Atomic<Int>(0)

  /// Streams that are open.
  var streams: Int { streamGauge.load(ordering: .relaxed) }
  /// Watches that exist.
  var watchers: Int { watcherGauge.load(ordering: .relaxed) }
  /// Watches that are behind and read from the store's history.
  var slowWatchers: Int { slowWatcherGauge.load(ordering: .relaxed) }
  /// Events on their way from the replica to the event loops.
  var pendingEvents: Int { pendingEventGauge.load(ordering: .relaxed) }
  /// Events sent, each once for each watch.
  var eventsTotal: Int { eventCounter.load(ordering: .relaxed) }
  /// Watches ever created.
  var requestsTotal: Int { requestCounter.load(ordering: .relaxed) }

  /// An event loop's hub counted `new` after it had told of `old`.
  func add(_ new: WatchCounts, since old: WatchCounts) {
    Self.add(new.streams - old.streams, to: streamGauge)
    Self.add(new.watches - old.watches, to: watcherGauge)
    Self.add(new.slowWatches - old.slowWatches, to: slowWatcherGauge)
    Self.add(new.eventsSent - old.eventsSent, to: eventCounter)
    Self.add(new.created - old.created, to: requestCounter)
  }

  func addPendingEvents(_ count: Int) {
    Self.add(count, to: pendingEventGauge)
  }

  private static func add(_ count: Int, to atomic: borrowing Atomic<Int>) {
    if count != 0 { atomic.add(count, ordering: .relaxed) }
  }
}

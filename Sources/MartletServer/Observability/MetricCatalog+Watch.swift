import Prometheus

// What concerns watches.
extension MetricCatalog {
  static let watchers = Definition(
    "etcd_debugging_mvcc_watcher_total",
    .gauge,
    "Watches that there are."
  )
  static let watchStreams = Definition(
    "etcd_debugging_mvcc_watch_stream_total",
    .gauge,
    "Streams of watches that are open."
  )
  static let slowWatchers = Definition(
    "etcd_debugging_mvcc_slow_watcher_total",
    .gauge,
    "Watches that are behind and read from the store's history."
  )
  static let watchEvents = Definition(
    "etcd_debugging_mvcc_events_total",
    .counter,
    "Events sent, each once for each watch."
  )
  static let pendingWatchEvents = Definition(
    "etcd_debugging_mvcc_pending_events_total",
    .gauge,
    "Events on their way from the replica to the event loops."
  )
}

import Prometheus

/// The metrics of a member: names, types and labels as etcd 3.5 has them, because dashboards and
/// alert rules ask for these. The helps are our own.
///
/// What etcd has and this server does not:
///
/// | left out | because |
/// |---|---|
/// | `etcd_debugging_store_*` | they count on the store of API version 2 |
/// | `etcd_debugging_disk_backend_commit_{rebalance,spill,write}_duration_seconds` | steps of a bbolt commit; LMDB has no such steps |
/// | `etcd_debugging_snap_*`, `etcd_snap_fsync_duration_seconds` | files of version 2 snapshots |
/// | `etcd_snap_db_*`, `rafthttp_*` | steps of taking in a snapshot by etcd's own files and streams |
/// | `etcd_grpc_proxy_*` | there is no proxy in this program |
/// | `etcd_server_go_version`, `go_*` | there is no Go |
/// | `promhttp_*` | of Go's scrape handler |
enum MetricCatalog {
  typealias Definition = MetricDefinition

  // MARK: The server

  static let hasLeader = Definition(
    "etcd_server_has_leader",
    .gauge,
    "1 when this member knows a leader, else 0."
  )
  static let isLeader = Definition(
    "etcd_server_is_leader",
    .gauge,
    "1 when this member leads, else 0."
  )
  static let isLearner = Definition(
    "etcd_server_is_learner",
    .gauge,
    "1 when this member has no vote yet, else 0."
  )
  static let serverID = Definition(
    "etcd_server_id",
    .gauge,
    "Always 1; the label is this member's ID in hexadecimal digits."
  )
  static let serverVersion = Definition(
    "etcd_server_version",
    .gauge,
    "Always 1; the label is the release of etcd that this server is compatible with."
  )
  static let clusterVersion = Definition(
    "etcd_cluster_version",
    .gauge,
    "Always 1; the label is the version that all members have agreed on."
  )
  static let leaderChanges = Definition(
    "etcd_server_leader_changes_seen_total",
    .counter,
    "How often this member saw a new leader."
  )
  static let proposalsCommitted = Definition(
    "etcd_server_proposals_committed_total",
    .gauge,
    "Index of the newest log entry that is committed."
  )
  static let proposalsApplied = Definition(
    "etcd_server_proposals_applied_total",
    .gauge,
    "Index of the newest log entry that is applied."
  )
  static let proposalsPending = Definition(
    "etcd_server_proposals_pending",
    .gauge,
    "Log entries of this member that are not applied yet."
  )
  static let proposalsFailed = Definition(
    "etcd_server_proposals_failed_total",
    .counter,
    "Proposals that were refused before they reached the log."
  )
  static let quotaBytes = Definition(
    "etcd_server_quota_backend_bytes",
    .gauge,
    "Size of the store in bytes at which writes are refused."
  )
  static let clientRequests = Definition(
    "etcd_server_client_requests_total",
    .counter,
    "Calls by kind and by the version that the client says it speaks."
  )
  static let heartbeatSendFailures = Definition(
    "etcd_server_heartbeat_send_failures_total",
    .counter,
    "Heartbeats to other members that left too late."
  )
  static let learnerPromotions = Definition(
    "etcd_server_learner_promote_successes",
    .counter,
    "Learners that this member made voters while it led."
  )
  static let readIndexesFailed = Definition(
    "etcd_server_read_indexes_failed_total",
    .counter,
    "Rounds for linearizable reads that were lost with their leader."
  )
  static let readIndexesSlow = Definition(
    "etcd_server_slow_read_indexes_total",
    .counter,
    "Rounds for linearizable reads that ran out of time."
  )
  static let snapshotsBeingApplied = Definition(
    "etcd_server_snapshot_apply_in_progress_total",
    .gauge,
    "1 while this member takes in a snapshot of the leader, else 0."
  )
  static let healthSuccesses = Definition(
    "etcd_server_health_success",
    .counter,
    "Health checks that passed."
  )
  static let healthFailures = Definition(
    "etcd_server_health_failures",
    .counter,
    "Health checks that failed."
  )
  static let applyDuration = Definition(
    "etcd_server_apply_duration_seconds",
    .histogram,
    "Time that log entries took to apply, by operation and outcome.",
    bounds: doubling(from: 0.0001, count: 20)
  )
  static let slowApplies = Definition(
    "etcd_server_slow_apply_total",
    .counter,
    "Log entries that took longer to apply than --warning-apply-duration."
  )

  // MARK: Disk

  static let logSyncDuration = Definition(
    "etcd_disk_wal_fsync_duration_seconds",
    .histogram,
    "Time that the log's fdatasync took.",
    bounds: doubling(from: 0.001, count: 14)
  )
  static let logWriteDuration = Definition(
    "etcd_disk_wal_write_duration_seconds",
    .histogram,
    "Time that writing a batch to the log took, before its fdatasync.",
    bounds: doubling(from: 0.001, count: 14)
  )
  static let logBytesWritten = Definition(
    "etcd_disk_wal_write_bytes_total",
    .gauge,
    "Bytes written to the log."
  )
  static let commitDuration = Definition(
    "etcd_disk_backend_commit_duration_seconds",
    .histogram,
    "Time that flushing a memtable to the store's file took.",
    bounds: doubling(from: 0.001, count: 14)
  )
  static let defragmentDuration = Definition(
    "etcd_disk_backend_defrag_duration_seconds",
    .histogram,
    "Time that a defragmentation took.",
    bounds: doubling(from: 0.1, count: 13)
  )
  static let defragmentsInFlight = Definition(
    "etcd_disk_defrag_inflight",
    .gauge,
    "1 while a defragmentation runs, else 0."
  )
  static let snapshotDuration = Definition(
    "etcd_disk_backend_snapshot_duration_seconds",
    .histogram,
    "Time that copying the store for a snapshot took.",
    bounds: doubling(from: 0.01, count: 17)
  )

  // MARK: Process, beside those of `ProcessMetrics`

  static let bytesReceived = Definition(
    "etcd_network_client_grpc_received_bytes_total",
    .counter,
    "Bytes of messages received from clients."
  )
  static let bytesSent = Definition(
    "etcd_network_client_grpc_sent_bytes_total",
    .counter,
    "Bytes of messages sent to clients."
  )

  // MARK: Calls

  static let callsStarted = Definition(
    "grpc_server_started_total",
    .counter,
    "Calls begun."
  )
  static let callsHandled = Definition(
    "grpc_server_handled_total",
    .counter,
    "Calls that are over, by their code."
  )
  static let messagesReceived = Definition(
    "grpc_server_msg_received_total",
    .counter,
    "Messages received in calls."
  )
  static let messagesSent = Definition(
    "grpc_server_msg_sent_total",
    .counter,
    "Messages sent in calls."
  )
  static let callDuration = Definition(
    "grpc_server_handling_seconds",
    .histogram,
    "Time from a call's first header to its end; with --metrics=extensive.",
    bounds: HistogramCell.secondsBounds
  )

  /// What is written to through swift-metrics, rather than collected at a scrape.
  static let instruments = [
    heartbeatSendFailures, learnerPromotions, readIndexesFailed, readIndexesSlow,
    snapshotsBeingApplied, healthSuccesses, healthFailures, applyDuration, slowApplies,
    logSyncDuration, logWriteDuration, logBytesWritten, commitDuration, defragmentDuration,
    defragmentsInFlight, snapshotDuration, hashDuration, revisionHashDuration,
    compactionPause, indexCompactionPause, compactionDuration, lastCompaction,
  ]

  static func doubling(from first: Double, count: Int) -> [Double] {
    (0..<count).map { first * Double(1 << $0) }
  }
}

import Prometheus

// What concerns keys, watches, leases and users.
extension MetricCatalog {
  static let currentRevision = Definition(
    "etcd_debugging_mvcc_current_revision",
    .gauge,
    "The newest revision."
  )
  static let compactRevision = Definition(
    "etcd_debugging_mvcc_compact_revision",
    .gauge,
    "The revision of the newest compaction."
  )
  static let keys = Definition(
    "etcd_debugging_mvcc_keys_total",
    .gauge,
    "Keys in the index, with deleted ones that no compaction has removed."
  )
  static let puts = Definition("etcd_mvcc_put_total", .counter, "Keys put.")
  static let deletes = Definition("etcd_mvcc_delete_total", .counter, "Keys deleted.")
  static let ranges = Definition("etcd_mvcc_range_total", .counter, "Ranges read.")
  static let rangesOldName = Definition(
    "etcd_debugging_mvcc_range_total",
    .counter,
    "Ranges read; the older name of etcd_mvcc_range_total."
  )
  static let txns = Definition(
    "etcd_mvcc_txn_total",
    .counter,
    "Transactions that wrote or could have written."
  )
  static let putBytes = Definition(
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    .gauge,
    "Bytes of all keys and values put."
  )
  static let fileBytes = Definition(
    "etcd_mvcc_db_total_size_in_bytes",
    .gauge,
    "Bytes that the store has on disk."
  )
  static let fileBytesInUse = Definition(
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    .gauge,
    "Bytes that the store has on disk, without what may be overwritten."
  )
  static let openReads = Definition(
    "etcd_mvcc_db_open_read_transactions",
    .gauge,
    "Reads of the store's file that are under way."
  )
  static let hashDuration = Definition(
    "etcd_mvcc_hash_duration_seconds",
    .histogram,
    "Time that hashing the whole store took.",
    bounds: doubling(from: 0.01, count: 15)
  )
  static let revisionHashDuration = Definition(
    "etcd_mvcc_hash_rev_duration_seconds",
    .histogram,
    "Time that hashing the keys at a revision took.",
    bounds: doubling(from: 0.01, count: 15)
  )
  static let compactedKeys = Definition(
    "etcd_debugging_mvcc_db_compaction_keys_total",
    .counter,
    "Revisions of keys that compactions have removed."
  )
  static let compactionPause = Definition(
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
    .histogram,
    "Time of one step of a compaction in the store's file.",
    bounds: doubling(from: 1, count: 13)
  )
  static let indexCompactionPause = Definition(
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
    .histogram,
    "Time of one step of a compaction in the index, which writes wait for.",
    bounds: doubling(from: 0.5, count: 14)
  )
  static let compactionDuration = Definition(
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
    .histogram,
    "Time from a compaction's start to its end.",
    bounds: doubling(from: 100, count: 14)
  )
  static let lastCompaction = Definition(
    "etcd_debugging_mvcc_db_compaction_last",
    .gauge,
    "When the newest compaction ended, in seconds since 1970."
  )

  static let authRevision = Definition(
    "etcd_debugging_auth_revision",
    .gauge,
    "How often users, roles and permissions have changed."
  )

  // MARK: Leases

  static let leasesGranted = Definition(
    "etcd_debugging_lease_granted_total",
    .counter,
    "Leases granted."
  )
  static let leasesRevoked = Definition(
    "etcd_debugging_lease_revoked_total",
    .counter,
    "Leases that ended, expired ones among them."
  )
  static let leasesRenewed = Definition(
    "etcd_debugging_lease_renewed_total",
    .counter,
    "Renewals of leases by this member while it led."
  )
  static let leasesExpired = Definition(
    "etcd_debugging_server_lease_expired_total",
    .counter,
    "Leases that ended because nobody renewed them."
  )
  static let leaseTimesToLive = Definition(
    "etcd_debugging_lease_ttl_total",
    .histogram,
    "Times to live of the leases granted, in seconds.",
    bounds: doubling(from: 1, count: 24)
  )
}

// Names of etcd 3.4 and 3.5 that have another name by now, or none.
extension FlagTable {
  static let renamed: [Flag] =
    [
      "enable-distributed-tracing", "distributed-tracing-address",
      "distributed-tracing-service-name", "distributed-tracing-instance-id",
      "distributed-tracing-sampling-rate", "corrupt-check-time", "compact-hash-check-time",
      "compaction-batch-limit", "compaction-sleep-interval", "peer-skip-client-san-verification",
      "watch-progress-notify-interval", "downgrade-check-time", "memory-mlock",
      "warning-apply-duration", "warning-unary-request-duration",
      "bootstrap-defrag-threshold-megabytes", "snapshot-catchup-entries", "max-learners",
      "backend-bbolt-freelist-type",
    ].map { renamed($0) } + [
      gate("experimental-initial-corrupt-check", "InitialCorruptCheck"),
      gate("experimental-compact-hash-check-enabled", "CompactHashCheck"),
      gate("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
      gate("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
      gate("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
      gate("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
      gate("experimental-set-member-localaddr", "SetMemberLocalAddr"),
    ]

  private static let newOnes: [String: Flag] = Dictionary(
    uniqueKeysWithValues: (member + clustering + discovery + security + monitoring + tracing
      + tuning)
      .map { ($0.name, $0) }
  )

  private static func renamed(_ name: String) -> Flag {
    Flag(
      "experimental-\(name)",
      newOnes[name]?.kind ?? .text(nil),
      newOnes[name]?.defaultText ?? "",
      .old,
      .renamed(to: name),
      "Now --\(name)."
    )
  }

  private static func gate(_ name: String, _ gate: String) -> Flag {
    Flag(
      name,
      .gate(gate),
      gate == "TxnModeWriteWithSharedBuffer" ? "true" : "false",
      .old,
      .renamed(to: "feature-gates"),
      "Now --feature-gates=\(gate)=true."
    )
  }

  static let gone: [Flag] = [
    old("max-snapshots", .integer(nil), "5", "the log here needs no snapshot files"),
    old("enable-v2", .bool(nil), "false", "there is no v2 API"),
    old("v2-deprecation", .text(nil), "not-yet", "there is no v2 store"),
    old("experimental-enable-v2v3", .text(nil), "", "there is no v2 API"),
    old("proxy", .choice(["off"], nil), "off", "there is no v2 proxy"),
    old("proxy-failure-wait", .integer(nil), "5000", "there is no v2 proxy"),
    old("proxy-refresh-interval", .integer(nil), "30000", "there is no v2 proxy"),
    old("proxy-dial-timeout", .integer(nil), "1000", "there is no v2 proxy"),
    old("proxy-write-timeout", .integer(nil), "5000", "there is no v2 proxy"),
    old("proxy-read-timeout", .integer(nil), "0", "there is no v2 proxy"),
    old("debug", .bool(nil), "false", "use --log-level=debug"),
    old("log-package-levels", .text(nil), "", "use --log-level"),
  ]

  private static func old(
    _ name: String,
    _ kind: Flag.Kind,
    _ defaultText: String,
    _ why: String
  ) -> Flag {
    Flag(name, kind, defaultText, .old, .gone(why), "No effect: \(why).")
  }
}

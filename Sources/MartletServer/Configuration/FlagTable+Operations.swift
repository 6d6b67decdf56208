extension FlagTable {
  static let monitoring: [Flag] = [
    Flag(
      "enable-pprof",
      .bool(nil),
      "false",
      .monitoring,
      .acceptedWithoutEffect,
      "Serves Go's profiles under /debug/pprof/; there is nothing like them here."
    ),
    Flag(
      "metrics",
      .choice(["basic", "extensive"], \.metrics),
      "basic",
      .monitoring,
      "basic, or extensive: with the time of every call by method."
    ),
    Flag(
      "listen-metrics-urls",
      .list(\.listenMetricsURLs),
      "",
      .monitoring,
      "URLs of their own for the metrics and health checks."
    ),
    Flag(
      "warning-unary-request-duration",
      .duration(\.warningUnaryRequestDuration),
      "300ms",
      .monitoring,
      "A request that takes longer is written to the log."
    ),
    Flag(
      "warning-apply-duration",
      .duration(\.warningApplyDuration),
      "100ms",
      .monitoring,
      "An apply that takes longer is written to the log."
    ),
    Flag(
      "corrupt-check-time",
      .duration(\.corruptCheckTime),
      "0s",
      .monitoring,
      "Time between two comparisons of what the members' stores hold, by HashKV: the leader asks, each "
        + "member reads its whole store, and who is not with the majority gets the alarm CORRUPT. "
        + "0s: never. (A hash of all that the log did is compared every half second in any case.)"
    ),
    Flag(
      "compact-hash-check-time",
      .duration(\.compactHashCheckTime),
      "1m",
      .monitoring,
      "With the feature gate CompactHashCheck: how often the leader looks for a compaction, to compare "
        + "the members' stores after it as --corrupt-check-time does."
    ),
  ]

  static let logging: [Flag] = [
    Flag("logger", .choice(["zap"], nil), "zap", .logging, "Only zap; its format is kept."),
    Flag(
      "log-outputs",
      .list(\.logOutputs),
      "default",
      .logging,
      "stderr, stdout or paths of files, with commas. default is stderr."
    ),
    Flag(
      "log-level",
      .choice(LogSettings.levelNames, \.logLevel),
      "info",
      .logging,
      "The least level that is written."
    ),
    Flag(
      "log-format",
      .choice(["json", "console"], \.logFormat),
      "json",
      .logging,
      "One JSON object per line, or text for people."
    ),
    Flag(
      "enable-log-rotation",
      .bool(\.enableLogRotation),
      "false",
      .logging,
      "Puts the log file of --log-outputs aside when it is full, and begins a new one."
    ),
    Flag(
      "log-rotation-config-json",
      .text(\.logRotationJSON),
      ServerConfiguration.logRotationDefault,
      .logging,
      "When that is: maxsize in MiB; maxage in days and maxbackups in files, after which old ones "
        + "are removed (0 keeps them). compress has no effect."
    ),
  ]

  static let tracing: [Flag] = [
    Flag(
      "enable-distributed-tracing",
      .bool(\.enableDistributedTracing),
      "false",
      .tracing,
      "Makes spans of calls, in a program that embeds a member and has bootstrapped a tracer."
    ),
    trace(
      "distributed-tracing-address",
      .text(nil),
      "localhost:4317",
      "Traces go where the program sends them."
    ),
    trace("distributed-tracing-service-name", .text(nil), "etcd", "The program names its service."),
    trace("distributed-tracing-instance-id", .text(nil), "", "The program names its instance."),
    trace("distributed-tracing-sampling-rate", .integer(nil), "0", "The program's tracer chooses."),
  ]

  private static func trace(
    _ name: String,
    _ kind: Flag.Kind,
    _ defaultText: String,
    _ help: String
  ) -> Flag {
    Flag(name, kind, defaultText, .tracing, .acceptedWithoutEffect, help)
  }

  static let tuning: [Flag] = [
    tune("max-wals", .integer(nil), "5", "Log files to keep; the log here keeps what it needs."),
    tune(
      "memory-mlock",
      .bool(nil),
      "false",
      "Which pages stay in memory is the system's part here."
    ),
    tune(
      "backend-bbolt-freelist-type",
      .choice(["map", "array"], nil),
      "map",
      "How bbolt keeps its free list; the store here is another."
    ),
    tune("backend-batch-interval", .duration(nil), "", "The store is written by its size here."),
    tune("backend-batch-limit", .integer(nil), "0", "The store is written by its size here."),
    Flag(
      "raft-read-timeout",
      .duration(\.raftReadTimeout),
      "5s",
      .tuning,
      "How long a member that has connected to this one may leave a ping unanswered."
    ),
    Flag(
      "raft-write-timeout",
      .duration(\.raftWriteTimeout),
      "5s",
      .tuning,
      "How long a member that this one has connected to may leave a ping unanswered."
    ),
    tune(
      "compaction-batch-limit",
      .integer(nil),
      "1000",
      "Compaction paces itself beside traffic."
    ),
    tune("compaction-sleep-interval", .duration(nil), "10ms", "Compaction paces itself."),
    tune(
      "bootstrap-defrag-threshold-megabytes",
      .integer(nil),
      "0",
      "Space is given back to the file system while the member runs."
    ),
    tune("downgrade-check-time", .duration(nil), "5s", "Members ask each other every 4 s."),
  ]

  private static func tune(
    _ name: String,
    _ kind: Flag.Kind,
    _ defaultText: String,
    _ help: String
  ) -> Flag {
    Flag(name, kind, defaultText, .tuning, .acceptedWithoutEffect, help)
  }

  static let unsafe: [Flag] = [
    Flag(
      "force-new-cluster",
      .bool(\.forceNewCluster),
      "false",
      .unsafe,
      "Makes a one-member cluster out of the data this member has."
    ),
    Flag(
      "unsafe-no-fsync",
      .bool(\.unsafeNoFsync),
      "false",
      .unsafe,
      "Never waits for the disk: acknowledged writes may be lost."
    ),
  ]
}

/// Every flag that etcd 3.5 to 3.7 knows. `Flag+*.swift` hold the rows.
package enum FlagTable {
  /// In the order in which `--help` shows them.
  package static let all: [Flag] =
    member + clustering + discovery + security + auth + monitoring + logging + tracing + tuning
    + unsafe
    + renamed + gone

  private static let byName: [String: Flag] = Dictionary(
    all.map { ($0.name, $0) },
    uniquingKeysWith: { first, _ in first }
  )

  /// The flag called `name`, written without dashes.
  package static func flag(_ name: String) -> Flag? { byName[name] }

  static let names = all.map(\.name)

  private static let command: [Flag] = [
    Flag(
      "config-file",
      .command,
      "",
      .member,
      "A YAML file with the configuration. All other flags and variables are then ignored."
    ),
    Flag("version", .command, "", .member, "Prints the version and exits."),
    Flag("help", .command, "", .member, "Prints this page and exits. Short: -h."),
  ]

  static let member: [Flag] =
    command + [
      Flag("name", .text(\.name), "default", .member, "The member's name, for people."),
      Flag(
        "data-dir",
        .text(\.dataDirectory),
        "",
        .member,
        "Where the data is kept. Empty: <name>.etcd in the working directory."
      ),
      Flag(
        "wal-dir",
        .text(\.logDirectory),
        "",
        .member,
        "A directory of its own for the log, which must stay the same. Empty: in --data-dir."
      ),
      Flag(
        "snapshot-count",
        .integer(\.snapshotCount),
        "10000",
        .member,
        "Applied entries after which the store is flushed at the latest, and the log released behind "
          + "it. The default leaves that to the memory that writes take."
      ),
      Flag(
        "snapshot-catchup-entries",
        .integer(\.snapshotCatchUpEntries),
        "5000",
        .member,
        "Entries kept in the log behind a snapshot, for members that lag."
      ),
      Flag(
        "heartbeat-interval",
        .milliseconds(\.heartbeatInterval),
        "100",
        .member,
        "Milliseconds between two heartbeats of a leader."
      ),
      Flag(
        "election-timeout",
        .milliseconds(\.electionTimeout),
        "1000",
        .member,
        "Milliseconds without a leader until an election; at least five heartbeats."
      ),
      Flag(
        "initial-election-tick-advance",
        .bool(\.initialElectionTickAdvance),
        "true",
        .member,
        .acceptedWithoutEffect,
        "A member that is alone stands for election at once; others wait for a whole timeout."
      ),
      Flag(
        "listen-peer-urls",
        .list(\.listenPeerURLs),
        "http://localhost:2380",
        .member,
        "URLs to listen on for other members."
      ),
      Flag(
        "listen-client-urls",
        .list(\.listenClientURLs),
        "http://localhost:2379",
        .member,
        "URLs to listen on for clients: http(s)://IP:port or unix(s)://path."
      ),
      Flag(
        "listen-client-http-urls",
        .list(\.listenClientHTTPURLs),
        "",
        .member,
        "URLs of their own for plain HTTP; the client URLs then serve only gRPC."
      ),
      Flag(
        "quota-backend-bytes",
        .integer(\.quotaBackendBytes),
        "0",
        .member,
        "Size of the store at which writes are refused. 0: 2 GiB; negative: no limit."
      ),
      Flag(
        "max-txn-ops",
        .integer(\.maxTxnOps),
        "128",
        .member,
        "Operations that one level of a transaction may have."
      ),
      Flag(
        "max-request-bytes",
        .integer(\.maxRequestBytes),
        "1572864",
        .member,
        "The largest request, in bytes."
      ),
      Flag(
        "max-concurrent-streams",
        .integer(\.maxConcurrentStreams),
        "4294967295",
        .member,
        "Streams that one client connection may have open at a time."
      ),
      Flag(
        "grpc-keepalive-min-time",
        .duration(\.grpcKeepAliveMinTime),
        "5s",
        .member,
        "A client that pings more often without need is sent away."
      ),
      Flag(
        "grpc-keepalive-interval",
        .duration(\.grpcKeepAliveInterval),
        "2h",
        .member,
        "Silence after which the server pings a client; 0 never does."
      ),
      Flag(
        "grpc-keepalive-timeout",
        .duration(\.grpcKeepAliveTimeout),
        "20s",
        .member,
        "How long the answer to such a ping may take; 0 waits for ever."
      ),
      Flag(
        "socket-reuse-port",
        .bool(\.socketReusePort),
        "false",
        .member,
        "Lets several processes listen on one port (SO_REUSEPORT)."
      ),
      Flag(
        "socket-reuse-address",
        .bool(\.socketReuseAddress),
        "false",
        .member,
        .acceptedWithoutEffect,
        "SO_REUSEADDR, which every address here has: a port in TIME_WAIT can be taken."
      ),
      Flag(
        "enable-grpc-gateway",
        .bool(\.enableGRPCGateway),
        "true",
        .member,
        "Serves the JSON gateway, POST /v3/..."
      ),
      Flag(
        "watch-progress-notify-interval",
        .duration(\.watchProgressNotifyInterval),
        "10m",
        .member,
        "Idle time after which a watch that asked for progress is told the revision."
      ),
      Flag(
        "feature-gates",
        .gates,
        "",
        .member,
        "Name=true or Name=false, several with commas. InitialCorruptCheck: a member compares its "
          + "data with the others' before it serves."
      ),
    ]

  static let clustering: [Flag] = [
    Flag(
      "initial-advertise-peer-urls",
      .list(\.initialAdvertisePeerURLs),
      "http://localhost:2380",
      .clustering,
      "This member's URLs, told to the other members."
    ),
    Flag(
      "initial-cluster",
      .text(\.initialCluster),
      "default=http://localhost:2380",
      .clustering,
      "The founding members, name=url,name=url."
    ),
    Flag(
      "initial-cluster-state",
      .state,
      "new",
      .clustering,
      "Whether a member without data founds a cluster (new) or joins one (existing)."
    ),
    Flag(
      "initial-cluster-token",
      .text(\.initialClusterToken),
      "etcd-cluster",
      .clustering,
      "Keeps clusters apart that are founded with the same URLs."
    ),
    Flag(
      "advertise-client-urls",
      .list(\.advertiseClientURLs),
      "http://localhost:2379",
      .clustering,
      "This member's client URLs, told to clients. Needed with --listen-client-urls."
    ),
    Flag(
      "strict-reconfig-check",
      .bool(\.strictReconfigCheck),
      "true",
      .clustering,
      "Refuses changes of membership that would lose the quorum."
    ),
    Flag(
      "pre-vote",
      .bool(\.preVote),
      "true",
      .clustering,
      "Asks whether an election could be won before standing for it."
    ),
    Flag(
      "max-learners",
      .integer(\.maxLearners),
      "1",
      .clustering,
      "Learners that the cluster may have."
    ),
    Flag(
      "auto-promote-learners",
      .bool(\.autoPromoteLearners),
      "false",
      .clustering,
      "Not in etcd: the leader makes a learner that has caught up a voter by itself."
    ),
    Flag(
      "auto-compaction-mode",
      .choice(["periodic", "revision"], \.autoCompactionMode),
      "periodic",
      .clustering,
      "Whether the retention is a time (periodic) or a count (revision)."
    ),
    Flag(
      "auto-compaction-retention",
      .text(\.autoCompactionRetention),
      "0",
      .clustering,
      "What automatic compaction keeps: 5m, hours, or a number of revisions. 0: off."
    ),
  ]
}

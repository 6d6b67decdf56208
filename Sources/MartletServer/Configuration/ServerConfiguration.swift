/// Everything that decides how a member runs. `ServerConfiguration()` is what the flags' defaults
/// give; a program that embeds a member sets what it wants to differ.
///
/// URLs are texts here (`http://127.0.0.1:2379`); `validate()` says what is wrong with them.
public struct ServerConfiguration: Hashable, Sendable {
  // Member

  /// What people call the member; the same name appears in `initialCluster`.
  public var name = "default"
  /// Where the member keeps its data. Empty: `<name>.etcd` in the working directory.
  public var dataDirectory = ""
  /// Where the log is kept, e.g. on a disk of its own. Empty: with the other data. Must stay the same.
  public var logDirectory = ""
  /// No flag: only tests have reasons to change these.
  package var limits = OverloadLimits()
  /// Applied entries after which the store is flushed at the latest, and the log released behind it;
  /// 0 means the default, which leaves it to the memory that writes take.
  public var snapshotCount = Self.snapshotCountDefault
  /// Entries that stay in the log behind a snapshot, for members that lag.
  public var snapshotCatchUpEntries = 5000
  /// Time between two heartbeats of a leader.
  public var heartbeatInterval: Duration = .milliseconds(100)
  /// Silence after which a follower stands for election; at least five heartbeats.
  public var electionTimeout: Duration = .milliseconds(1000)
  /// Whether a starting member may skip most of its first election timeout.
  public var initialElectionTickAdvance = true
  public var listenPeerURLs = ["http://localhost:2380"]
  public var listenClientURLs = ["http://localhost:2379"]
  /// Where plain HTTP is served, the JSON gateway with it; the other client addresses then serve
  /// only gRPC. None: all client addresses serve both.
  public var listenClientHTTPURLs: [String] = []
  /// Where `/metrics` and the health checks are served besides the client addresses.
  public var listenMetricsURLs: [String] = []
  /// TLS of the addresses above whose URLs are https:// or unixs://.
  public var clientTLS = ClientTransportSecurity()
  /// TLS of the addresses for other members whose URLs are https:// or unixs://, and of connections
  /// to such addresses.
  public var peerTLS = PeerTransportSecurity()
  /// The size of the store, in bytes, at which writes are refused: 0 means the default of
  /// 2 GiB, a negative number none.
  public var quotaBackendBytes = 0
  /// Operations that one level of a transaction may have.
  public var maxTxnOps = 128
  /// The largest request of a client, in bytes.
  public var maxRequestBytes = 1_572_864
  /// Streams that one client connection may have open at a time.
  public var maxConcurrentStreams = 4_294_967_295
  /// A client that pings more often than this, without need, is sent away.
  public var grpcKeepAliveMinTime: Duration = .seconds(5)
  /// Silence on a connection after which the server pings the client; 0 never does.
  public var grpcKeepAliveInterval: Duration = .seconds(7200)
  /// How long the answer to such a ping may take; 0 waits for ever.
  public var grpcKeepAliveTimeout: Duration = .seconds(20)
  /// How long another member that is connected may leave a ping unanswered, on connections that it
  /// made, and on those that this one made.
  public var raftReadTimeout: Duration = .seconds(5)
  public var raftWriteTimeout: Duration = .seconds(5)
  public var socketReusePort = false
  public var socketReuseAddress = false
  /// The idle time after which a watch that asked for progress is told the current revision.
  public var watchProgressNotifyInterval: Duration = .seconds(600)

  /// Whether the JSON gateway is served.
  public var enableGRPCGateway = true
  /// Origins whose pages browsers may let call; `*` allows all.
  public var cors = ["*"]
  /// Host names that plain HTTP without TLS may ask for; `*` allows all.
  public var hostWhitelist = ["*"]

  // Clustering

  public var initialAdvertisePeerURLs = ["http://localhost:2380"]
  /// The founders: `name=url,name=url2,other=url3`.
  public var initialCluster = Self.initialClusterDefault
  public var initialClusterState = InitialClusterState.new
  /// Keeps clusters apart that are founded with the same URLs.
  public var initialClusterToken = "etcd-cluster"
  /// What the member list tells clients.
  public var advertiseClientURLs = ["http://localhost:2379"]
  public var strictReconfigCheck = true
  public var preVote = true
  public var maxLearners = 1
  /// Whether the leader makes a learner a voter by itself, once it has caught up.
  public var autoPromoteLearners = false
  /// Founds a new cluster of this one member out of the data it has.
  public var forceNewCluster = false
  /// The URL of a v2 discovery service; refused, unless empty.
  public var discoveryURL = ""
  /// The discovery service by which founders find each other, when it has a token and addresses;
  /// `initialCluster` then counts for nothing.
  public var discoveryService = DiscoverySettings()
  /// The domain whose SRV records name the founders; empty: `initialCluster` does.
  public var discoverySRV = ""
  /// What follows `_etcd-server` in the names of those records.
  public var discoverySRVName = ""
  /// No flag: the name server that tests ask, as `127.0.0.1:53`.
  package var discoveryResolver = ""

  // Automatic compaction

  public var autoCompactionMode = "periodic"
  /// A duration (`5m`, or a bare number of hours) or, in mode `revision`, a number of revisions.
  /// `0` turns it off.
  public var autoCompactionRetention = "0"

  // Authentication

  /// `simple` or `jwt,pub-key=...`.
  public var authToken = "simple"
  public var bcryptCost = 10
  public var authTokenTTLSeconds = 300

  // Logging and monitoring

  /// `debug`, `info`, `warn`, `error`, `panic` or `fatal`.
  public var logLevel = "info"
  /// `json` or `console`.
  public var logFormat = "json"
  /// `default` (standard error), `stderr`, `stdout` or the paths of files.
  public var logOutputs = ["default"]
  /// Whether a log file (there must be just one) is put aside when it is full, and a new one begun.
  public var enableLogRotation = false
  /// When that is, and how many are kept: `{"maxsize": 100, "maxage": 0, "maxbackups": 0,
  /// "localtime": false, "compress": false}`, in MiB, days and files; 0 keeps them all.
  public var logRotationJSON = Self.logRotationDefault
  /// `basic`, or `extensive` for the time of every call by method.
  public var metrics = "basic"
  /// A unary request that takes longer is written to the log.
  public var warningUnaryRequestDuration: Duration = .milliseconds(300)
  /// A log entry that takes longer to apply is written to the log and counted.
  public var warningApplyDuration: Duration = .milliseconds(100)
  /// Time between two comparisons of the members' stores by the leader; 0: there are none. Each reads
  /// every member's store as a whole. (What entries do is compared all the time, without that.)
  public var corruptCheckTime: Duration = .zero
  /// With the feature gate CompactHashCheck: how often the leader looks whether there was a compaction,
  /// to compare the members' stores after it.
  public var compactHashCheckTime: Duration = .seconds(60)
  /// Whether calls make spans with the tracer that the program has bootstrapped.
  public var enableDistributedTracing = false
  /// The feature gates that were set, as `Name=true`; the last one of a name counts.
  public var featureGates: [String] = []

  /// Skips every fdatasync: an acknowledged write may be lost. For tests.
  public var unsafeNoFsync = false

  static let logRotationDefault =
    #"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#
  static let snapshotCountDefault = 10_000
  static let initialClusterDefault = "default=http://localhost:2380"

  /// The defaults of every flag.
  public init() {}
}

/// Whether a member without data founds a cluster or joins one.
public enum InitialClusterState: String, Hashable, Sendable {
  case new
  case existing
}

/// Why a configuration was refused. The message is one or a few sentences for the operator.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Code: Sendable {
    /// The command line could not be read: unknown flag, value of the wrong kind.
    case usage
    /// The values do not fit each other, or ask for what there is not.
    case invalid
    /// The configuration file could not be read.
    case file
  }

  public let code: Code
  public let message: String
  public var description: String { message }

  /// What a process that stops on this error exits with, as etcd does.
  public var exitCode: Int32 { code == .usage ? 2 : 1 }

  static func usage(_ message: String) -> Self { Self(code: .usage, message: message) }
  static func invalid(_ message: String) -> Self { Self(code: .invalid, message: message) }
  static func file(_ message: String) -> Self { Self(code: .file, message: message) }
}

import Flags
import MartletServer
import Testing

@Suite("Validation")
struct ValidationTests {
  @Test("the defaults are valid")
  func defaults() throws {
    let resolved = try ServerConfiguration().resolve()
    #expect(resolved.dataDirectoryPath == "default.etcd")
    #expect(resolved.compaction == nil)
    #expect(resolved.quotaBytes == 2 << 30)
    #expect(resolved.snapshotCount == 10_000)
    #expect("\(try ServerConfiguration().founders().all)" == "default=http://localhost:2380")
    #expect("\(resolved.clientListeners)" == "[http://localhost:2379]")
    #expect(resolved.logSettings.outputs == [.standardError])
  }

  private static let clients = "--advertise-client-urls=http://a:1"

  @Test(
    "refused, with the reason and exit code 1",
    arguments: [
      (["--listen-client-urls=http://127.0.0.1:1"], "--advertise-client-urls is needed"),
      (["--listen-client-urls=http://example.com:1", clients], "expected an IP address"),
      (["--listen-client-urls=http://:1", clients], "expected an IP address"),
      (
        ["--listen-client-urls=https://127.0.0.1:1", clients],
        "TLS key/cert (--cert-file, --key-file) must be provided"
      ),
      (["--listen-metrics-urls=https://127.0.0.1:1"], "must be provided"),
      (["--cert-file=/c"], "--cert-file and --key-file must be given together"),
      (["--key-file=/k"], "--cert-file and --key-file must be given together"),
      (["--cipher-suites=NOPE"], "unexpected TLS cipher suite \"NOPE\""),
      (["--cipher-suites=TLS_RSA_WITH_RC4_128_SHA"], "is broken and not supported"),
      (["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], "newer than the newest"),
      (
        ["--tls-min-version=TLS1.3", "--cipher-suites=TLS_RSA_WITH_AES_128_GCM_SHA256"],
        "cannot be chosen"
      ),
      (["--self-signed-cert-validity=0"], "--self-signed-cert-validity must be from 1"),
      (
        ["--listen-client-http-urls=http://localhost:2379"],
        "cannot bind both --listen-client-urls and --listen-client-http-urls"
      ),
      (["--listen-client-urls=http://127.0.0.1", clients], "port is missing"),
      (["--listen-client-urls=http://127.0.0.1:1/x", clients], "must not contain a path"),
      (["--listen-client-urls=", clients], "no URL given"),
      (["--advertise-client-urls=a:1"], "must begin with http://"),
      (["--listen-peer-urls=http://peer:1"], "expected an IP address"),
      (["--listen-metrics-urls=nonsense"], "--listen-metrics-urls"),
      (["--election-timeout=499"], "at least 5 times --heartbeat-interval"),
      (["--election-timeout=50001"], "at most 50000 ms"),
      (["--election-timeout=0"], "--election-timeout must be more than 0"),
      (["--heartbeat-interval=0"], "--heartbeat-interval must be more than 0"),
      (["--name="], "--name must not be empty"),
      (["--name=a,b"], "--name must not be empty nor contain"),
      (["--initial-cluster=b=http://localhost:2380"], "own name, \"default\"; it names b"),
      (["--initial-cluster=default=http://h:1"], "they must be the same"),
      (["--initial-cluster=x"], "expected name=url"),
      (
        ["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"],
        "is given more than once"
      ),
      (["--max-txn-ops=0"], "--max-txn-ops must be from 1"),
      (["--max-request-bytes=2147483648"], "--max-request-bytes must be from 1"),
      (["--max-concurrent-streams=4294967296"], "--max-concurrent-streams must be from 1"),
      (["--snapshot-count=-1"], "--snapshot-count must be at least 0"),
      (["--bcrypt-cost=3"], "--bcrypt-cost must be from 4 to 31"),
      (["--grpc-keepalive-min-time=-1s"], "must not be negative"),
      (["--auto-compaction-retention=xyz"], "expected a duration"),
      (["--auto-compaction-retention=-1h"], "expected a duration"),
      (["--auto-compaction-retention=-1"], "out of range"),
      (
        ["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"],
        "number of revisions"
      ),
      (["--log-outputs=default,stderr"], "cannot be combined"),
      (["--log-outputs="], "at least one output"),
      (["--log-outputs=systemd/journal"], "not built"),
      (["--discovery=https://d/1"], "there is no v2 discovery here"),
      (["--discovery-token=t"], "both --discovery-endpoints and --discovery-token must be set"),
      (["--discovery-endpoints=h:1"], "both --discovery-endpoints and --discovery-token"),
      (
        [
          "--discovery-endpoints=h:1", "--discovery-token=t",
          "--initial-cluster=default=http://a:1",
        ],
        "multiple discovery or bootstrap configuration flags are set"
      ),
      (
        ["--discovery-srv=d", "--discovery-endpoints=h:1"],
        "(--discovery-endpoints, --discovery-srv)"
      ),
      (
        ["--discovery-endpoints=h:1", "--discovery-token=a/../b"],
        "without empty parts, '.' or '..'"
      ),
      (["--discovery-endpoints=h", "--discovery-token=t"], "--discovery-endpoints: "),
      (
        ["--discovery-endpoints=h:1", "--discovery-token=t", "--initial-cluster-state=existing"],
        "is for founding a cluster"
      ),
      (
        ["--discovery-endpoints=h:1", "--discovery-token=t", "--discovery-user=u"],
        "the password is missing"
      ),
      (
        ["--discovery-endpoints=h:1", "--discovery-token=t", "--discovery-password=p"],
        "--discovery-password needs --discovery-user"
      ),
      (
        ["--discovery-endpoints=h:1", "--discovery-token=t", "--discovery-cert=c"],
        "must be given together"
      ),
      (
        ["--discovery-endpoints=h:1", "--discovery-token=t", "--discovery-dial-timeout=0s"],
        "--discovery-dial-timeout must be more than 0"
      ),
      (["--raft-read-timeout=0s"], "--raft-read-timeout must be more than 0"),
      (["--corrupt-check-time=-1s"], "must not be negative"),
      (["--compact-hash-check-time=0s"], "must be more than 0"),
      (["--enable-log-rotation"], "requires a single file path"),
      (["--log-outputs=/a,/b", "--enable-log-rotation"], "requires a single file path"),
      (["--log-rotation-config-json={"], "not valid JSON"),
      (["--log-rotation-config-json=7"], "expected a JSON object"),
      ([#"--log-rotation-config-json={"maxsize": -1}"#], "maxsize must be a whole number"),
      ([#"--log-rotation-config-json={"maxsize": "a"}"#], "maxsize must be a whole number"),
      ([#"--log-rotation-config-json={"localtime": 3}"#], "localtime must be true or false"),
      ([#"--log-rotation-config-json={"maxfiles": 3}"#], "there is no \"maxfiles\""),
      (["--feature-gates=LeaseCheckpiont=true"], "Did you mean LeaseCheckpoint?"),
      (["--feature-gates=LeaseCheckpoint"], "expected Name=true"),
    ]
  )
  func refused(arguments: [String], text: String) throws {
    let failure = try #require(refusal(arguments))
    #expect(failure.text.contains(text), "\(failure.text)")
    #expect(failure.exitCode == 1)
  }

  @Test("what looks odd and is fine")
  func accepted() throws {
    _ = try load(["--listen-client-urls=unix:///tmp/m.sock", Self.clients])
    _ = try load(["--listen-client-urls=http://[fe80::1%25eth0]:1", Self.clients])
    _ = try load(["--election-timeout=500"])
    _ = try load(["--election-timeout=50000"])
    let zero = try load(["--snapshot-count=0"]).configuration.resolve()
    #expect(zero.snapshotCount == 10_000)
    let peers = try load(["--initial-advertise-peer-urls=http://b:1,http://a:1"])
    #expect(peers.configuration.initialCluster == "default=http://b:1,default=http://a:1")
    let several = "--initial-cluster=default=http://127.0.0.1:2380,b=http://b:1"
    _ = try load([several, "--initial-advertise-peer-urls=http://127.0.0.1:2380"])
    // Names are resolved where the texts differ.
    _ = try load([several])
    let named = try load([
      "--name=m", "--initial-advertise-peer-urls=http://b:1,http://a:1",
      "--initial-cluster=m=http://a:1,m=http://b:1",
    ])
    let cluster = try named.configuration.founders().all
    #expect("\(cluster)" == "m=http://a:1,m=http://b:1")
    #expect(try named.configuration.resolve().dataDirectoryPath == "m.etcd")
    let large = try load(["--max-request-bytes=20000000"])
    #expect(large.notices.map(\.setting) == ["--max-request-bytes"])
  }

  @Test("a program's own configuration is checked the same way")
  func embedded() throws {
    var configuration = ServerConfiguration()
    configuration.listenClientURLs = ["http://127.0.0.1:0"]
    try configuration.validate()
    configuration.autoCompactionMode = "sometimes"
    #expect(throws: ConfigurationError.self) { try configuration.validate() }
    configuration.autoCompactionMode = "periodic"
    configuration.logLevel = "loud"
    #expect(throws: ConfigurationError.self) { try configuration.validate() }
  }
}

@Suite("Go's durations")
struct GoDurationTests {
  @Test(
    "read",
    arguments: [
      ("0", Int64(0)), ("5s", 5_000_000_000), ("1h30m", 5_400_000_000_000), ("300ms", 300_000_000),
      ("1.5h", 5_400_000_000_000), (".5s", 500_000_000), ("-2m", -120_000_000_000), ("1us", 1000),
      ("1\u{b5}s", 1000), ("1\u{3bc}s", 1000), ("+1ns", 1), ("0.000000001s", 1),
      ("1.s", 1_000_000_000),
      ("0.123456789s", 123_456_789), ("2562047h", 9_223_369_200_000_000_000), ("0s", 0),
    ]
  )
  func reads(text: String, nanoseconds: Int64) throws {
    #expect(GoDuration.parse(text) == .nanoseconds(nanoseconds))
  }

  @Test(
    "refused",
    arguments: [
      "", "5", "s", ".", ".s", "1x", "1h 2m", "1hs", "--1s", "1e3s", "2562048h", "1d", "-",
      "1.2.3s",
      "99999999999999999999s", "\u{661}s",
    ]
  )
  func refuses(text: String) {
    #expect(GoDuration.parse(text) == nil)
  }

  @Test(
    "written",
    arguments: [
      (Int64(0), "0s"), (1, "1ns"), (1100, "1.1\u{b5}s"), (2_200_000, "2.2ms"),
      (3_300_000_000, "3.3s"), (245_000_000_000, "4m5s"), (5_400_000_000_000, "1h30m0s"),
      (-1_500_000_000, "-1.5s"), (3_600_001_000_000, "1h0m0.001s"),
    ]
  )
  func writes(nanoseconds: Int64, text: String) {
    #expect(GoDuration.text(.nanoseconds(nanoseconds)) == text)
    #expect(GoDuration.parse(text) == .nanoseconds(nanoseconds))
  }
}

import Flags
import Logging
import MartletServer
import Testing

/// What a command line and an environment give, or the error.
func load(
  _ arguments: [String],
  _ environment: [String: String] = [:]
) throws(ConfigurationError) -> LoadedConfiguration {
  switch ServerCommand(arguments: arguments, environment: environment) {
  case .serve(let loaded): return loaded
  case .print, .fail: break
  }
  _ = try ServerConfiguration(arguments: arguments, environment: environment)
  preconditionFailure("\(arguments) neither serves nor fails")
}

func refusal(
  _ arguments: [String],
  _ environment: [String: String] = [:]
) -> (text: String, exitCode: Int32)? {
  if case .fail(let text, let exitCode) = ServerCommand(
    arguments: arguments,
    environment: environment
  ) {
    return (text, exitCode)
  }
  return nil
}

@Suite("Flag table")
struct FlagTableTests {
  @Test("every flag of the contract is known, with its default", arguments: KnownFlags.release37)
  func current(row: (name: String, defaultText: String?)) throws {
    let flag = try #require(FlagTable.flag(row.name), "--\(row.name) is not in the table")
    if let text = row.defaultText { #expect(flag.defaultText == text) }
    switch flag.effect {
    case .works, .acceptedWithoutEffect: break
    case .renamed, .gone: Issue.record("--\(row.name) is a flag of today")
    }
  }

  @Test("every old flag is known, and said to be old", arguments: KnownFlags.goneOrRenamed)
  func old(row: (name: String, defaultText: String?)) throws {
    let flag = try #require(FlagTable.flag(row.name), "--\(row.name) is not in the table")
    if let text = row.defaultText, row.name.hasPrefix("proxy") { #expect(flag.defaultText == text) }
    switch flag.effect {
    case .renamed(let name): #expect(FlagTable.flag(name) != nil)
    case .gone: break
    case .works, .acceptedWithoutEffect: Issue.record("--\(row.name) is a flag of the past")
    }
  }

  @Test("names are unique")
  func unique() {
    let names = FlagTable.all.map(\.name)
    #expect(Set(names).count == names.count)
  }

  @Test("each flag, set to the default that it states, changes nothing")
  func defaults() throws {
    for flag in FlagTable.all where flag.group != .old {
      guard !["config-file", "version", "help", "feature-gates"].contains(flag.name) else {
        continue
      }
      if flag.defaultText.isEmpty && flag.name.contains("interval") { continue }
      var arguments = ["--\(flag.name)=\(flag.defaultText)"]
      if flag.name == "listen-client-urls" {
        arguments.append("--advertise-client-urls=http://localhost:2379")
      }
      let loaded = try load(arguments)
      #expect(loaded.configuration == ServerConfiguration(), "--\(flag.name)")
      #expect(loaded.notices.isEmpty, "--\(flag.name)")
    }
  }

  @Test("an accepted flag that was set is noted once, a working one not at all")
  func notices() throws {
    let accepted = try load(["--max-wals", "7", "--max-wals=8", "--name", "default"])
    #expect(
      accepted.notices
        == [
          ConfigurationNotice(message: "setting has no effect yet", setting: "--max-wals")
        ]
    )
  }

  @Test("an old name is mapped, with one notice; the new one wins")
  func renamed() throws {
    let mapped = try load(["--experimental-warning-unary-request-duration=2s"])
    #expect(mapped.configuration.warningUnaryRequestDuration == .seconds(2))
    #expect(mapped.notices.count == 1)
    #expect(mapped.notices.first?.message.contains("--warning-unary-request-duration") == true)
    let both = try load(
      ["--snapshot-catchup-entries=7", "--experimental-snapshot-catchup-entries=9"])
    #expect(both.configuration.snapshotCatchUpEntries == 7)
    let gate = try load(["--experimental-initial-corrupt-check"])
    #expect(gate.configuration.featureGates == ["InitialCorruptCheck=true"])
    #expect(gate.notices.count == 1)
    let gone = try load(["--enable-v2"])
    #expect(gone.notices.map(\.setting) == ["--enable-v2"])
  }
}

@Suite("Command line")
struct CommandLineTests {
  @Test(
    "Go's spellings",
    arguments: [
      ["-name", "a"], ["--name", "a"], ["-name=a"], ["--name=a"],
      ["--name=b", "--name=a"], ["--name=a", "--"],
    ]
  )
  func spellings(arguments: [String]) throws {
    #expect(try load(arguments).configuration.name == "a")
  }

  @Test(
    "bools",
    arguments: [
      (["--unsafe-no-fsync"], true), (["-unsafe-no-fsync=T"], true),
      (["--unsafe-no-fsync=0"], false), (["--unsafe-no-fsync", "--name=a"], true),
      (["--unsafe-no-fsync=true", "--unsafe-no-fsync=FALSE"], false),
    ]
  )
  func bools(arguments: [String], expected: Bool) throws {
    #expect(try load(arguments).configuration.unsafeNoFsync == expected)
  }

  @Test("values of each kind")
  func kinds() throws {
    let configuration = try load([
      "--quota-backend-bytes", "-1", "--max-txn-ops=0x100", "--heartbeat-interval=50",
      "--election-timeout=500", "--grpc-keepalive-interval=1h30m", "--log-outputs=stdout, /tmp/x",
      "--listen-client-urls=http://127.0.0.1:1,http://[::1]:2", "--initial-cluster-state=existing",
      "--advertise-client-urls=http://a.example:1", "--auto-compaction-retention=5m",
      "--log-level=warn",
    ]).configuration
    #expect(configuration.quotaBackendBytes == -1)
    #expect(configuration.maxTxnOps == 256)
    #expect(configuration.heartbeatInterval == .milliseconds(50))
    #expect(configuration.electionTimeout == .milliseconds(500))
    #expect(configuration.grpcKeepAliveInterval == .seconds(5400))
    #expect(configuration.logOutputs == ["stdout", "/tmp/x"])
    #expect(configuration.listenClientURLs == ["http://127.0.0.1:1", "http://[::1]:2"])
    #expect(configuration.initialClusterState == .existing)
    let resolved = try configuration.resolve()
    #expect(resolved.quotaBytes == nil)
    #expect(resolved.compaction == .periodic(nanoseconds: 300_000_000_000))
    #expect(resolved.logSettings.outputs == [.standardOutput, .file("/tmp/x")])
    #expect(resolved.logSettings.level == .warning)
  }

  @Test(
    "refused before anything starts",
    arguments: [
      (["--data-dri=x"], 2, "Did you mean --data-dir?"),
      (["-lisen-client-urls", "x"], 2, "Did you mean --listen-client-urls?"),
      (["--xyzzy-unknown-thing"], 2, "no flag --xyzzy-unknown-thing"),
      (["--name"], 2, "needs an argument: --name"),
      (["---name=a"], 2, "bad flag syntax"),
      (["--=a"], 2, "bad flag syntax"),
      (["--snapshot-count=abc"], 2, "expected an integer, found \"abc\""),
      (["--pre-vote=maybe"], 2, "expected true or false"),
      (["--grpc-keepalive-timeout=20"], 2, "expected a duration"),
      (["--heartbeat-interval=-1"], 2, "number of milliseconds"),
      (["--initial-cluster-state=old"], 2, "new or existing"),
      (["--log-level=loud"], 2, "debug or info or warn"),
      (["--logger=capnslog"], 2, "expected zap"),
      (["--proxy=on"], 2, "expected off"),
      (["--auto-compaction-mode=x"], 2, "periodic or revision"),
      (["serve"], 1, "\"serve\" is no flag"),
      (["--name=a", "b"], 1, "\"b\" is no flag"),
    ]
  )
  func refused(arguments: [String], exitCode: Int, text: String) throws {
    let failure = try #require(refusal(arguments))
    #expect(failure.text.contains(text), "\(failure.text)")
    #expect(failure.exitCode == Int32(exitCode))
  }

  @Test("an unknown flag that resembles none gets no suggestion")
  func noSuggestion() throws {
    let failure = try #require(refusal(["--xyzzy-unknown-thing"]))
    #expect(!failure.text.contains("Did you mean"))
  }

  @Test(
    "version",
    arguments: [["version"], ["--version"], ["-version"], ["--name=a", "--version"]]
  )
  func version(arguments: [String]) throws {
    guard case .print(let text) = ServerCommand(arguments: arguments, environment: [:]) else {
      Issue.record("\(arguments) prints nothing")
      return
    }
    let lines = text.split(separator: "\n")
    #expect(lines.first == "martlet Version: \(Version.martlet)")
    #expect(lines.last?.hasPrefix("API Version: 3.") == true)
  }

  @Test("help names every flag, in lines of at most 100 columns", arguments: ["-h", "--help"])
  func help(argument: String) throws {
    guard case .print(let text) = ServerCommand(arguments: [argument], environment: [:]) else {
      Issue.record("prints nothing")
      return
    }
    let lines = text.split(separator: "\n")
    for flag in FlagTable.all {
      #expect(lines.contains { $0.hasPrefix("  --\(flag.name)") }, "\(flag.name)")
    }
    for line in lines where !line.contains("log-rotation-config-json") {
      #expect(line.count <= 100, "\(line)")
    }
    #expect(lines.contains("  --max-wals *  '5'"), "marked as without effect")
  }

  @Test("the nearest name")
  func nearest() {
    let names = ["name", "data-dir", "wal-dir", "debug"]
    #expect(NearestName.find("nmae", among: names) == "name", "two letters swapped")
    #expect(NearestName.find("datadir", among: names) == "data-dir")
    #expect(NearestName.find("completely-else", among: names) == nil)
    #expect(NearestName.find(String(repeating: "n", count: 1000), among: names) == nil)
  }
}

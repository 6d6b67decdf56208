import MartletServer
import Testing

@Suite("Environment and precedence")
struct EnvironmentTests {
  @Test("each flag has its variable")
  func names() throws {
    #expect(FlagTable.flag("listen-client-urls")?.environmentName == "ETCD_LISTEN_CLIENT_URLS")
    let configuration = try load([], ["ETCD_NAME": "n", "ETCD_MAX_TXN_OPS": "5"]).configuration
    #expect(configuration.name == "n")
    #expect(configuration.maxTxnOps == 5)
    #expect(configuration.initialCluster == "n=http://localhost:2380")
  }

  @Test("flag, then variable, then default; an overruled variable is noted")
  func precedence() throws {
    let both = try load(["--max-txn-ops=7"], ["ETCD_MAX_TXN_OPS": "5", "ETCD_SNAPSHOT_COUNT": "9"])
    #expect(both.configuration.maxTxnOps == 7)
    #expect(both.configuration.snapshotCount == 9)
    #expect(both.configuration.maxLearners == 1)
    #expect(both.notices.map(\.setting) == ["ETCD_MAX_TXN_OPS"])
  }

  @Test("an empty variable is none, an unknown one is noted, others do not matter")
  func unknown() throws {
    let loaded = try load(
      [],
      [
        "ETCD_NAME": "", "ETCD_NMAE": "x", "ETCDCTL_API": "3", "ETCD_UNSUPPORTED_ARCH": "riscv",
        "PATH": "/bin",
      ]
    )
    #expect(loaded.configuration == ServerConfiguration())
    #expect(loaded.notices.map(\.setting) == ["ETCD_NMAE"])
  }

  @Test("a wrong value names the variable and exits with 1, as etcd does")
  func wrong() throws {
    let failure = try #require(refusal([], ["ETCD_SNAPSHOT_COUNT": "many"]))
    #expect(failure.exitCode == 1)
    #expect(failure.text.contains("ETCD_SNAPSHOT_COUNT: expected an integer"))
  }
}

@Suite("Configuration file")
struct ConfigurationFileTests {
  private func load(
    yaml: String,
    _ arguments: [String] = [],
    _ environment: [String: String] = [:]
  ) throws -> LoadedConfiguration {
    let folder = try TemporaryFolder()
    let file = try folder.write(yaml, to: "etcd.yaml")
    return try withExtendedLifetime(folder) {
      try MartletServerTests.load(["--config-file", file] + arguments, environment)
    }
  }

  @Test("an etcd file is understood")
  func etcdFile() throws {
    let loaded = try load(
      yaml: """
        # what an operator would have
        name: 'infra0'
        data-dir: /var/lib/martlet
        snapshot-count: 5000
        heartbeat-interval: 200
        election-timeout: 2000
        quota-backend-bytes: 8589934592
        listen-peer-urls: http://127.0.0.1:2380
        listen-client-urls: http://127.0.0.1:2379,http://127.0.0.1:4001
        advertise-client-urls: http://a.example:2379
        initial-advertise-peer-urls: http://127.0.0.1:2380
        initial-cluster: infra0=http://127.0.0.1:2380
        initial-cluster-state: 'new'
        grpc-keepalive-interval: 60000000000
        grpc-keepalive-timeout: 7s
        strict-reconfig-check: false
        discovery:
        proxy: 'off'
        auto-compaction-mode: revision
        auto-compaction-retention: "1000"
        log-outputs: [stderr, /tmp/martlet.log]
        log-format: console
        socket-options:
          reuse-port: true
        client-transport-security:
          cert-file: /c.pem
          key-file: /ck.pem
          client-cert-auth: false
          trusted-ca-file:
          crl-file: /crl.pem
        peer-transport-security:
          cert-file: /p.pem
          key-file: /k.pem
          allowed-cn: member
        feature-gates:
          LeaseCheckpoint: true
        """
    )
    let configuration = loaded.configuration
    #expect(configuration.name == "infra0")
    #expect(configuration.snapshotCount == 5000)
    #expect(configuration.electionTimeout == .seconds(2))
    #expect(configuration.quotaBackendBytes == 8 << 30)
    #expect(configuration.listenClientURLs.count == 2)
    #expect(configuration.grpcKeepAliveInterval == .seconds(60), "an integer is nanoseconds")
    #expect(configuration.grpcKeepAliveTimeout == .seconds(7))
    #expect(!configuration.strictReconfigCheck)
    #expect(configuration.logOutputs == ["stderr", "/tmp/martlet.log"])
    #expect(configuration.socketReusePort)
    #expect(configuration.clientTLS.certificateFile == "/c.pem")
    #expect(configuration.clientTLS.keyFile == "/ck.pem")
    #expect(configuration.clientTLS.revocationFile == "/crl.pem")
    #expect(configuration.peerTLS.certificateFile == "/p.pem")
    #expect(configuration.peerTLS.keyFile == "/k.pem")
    #expect(configuration.peerTLS.allowedCommonName == "member")
    #expect(configuration.featureGates == ["LeaseCheckpoint=true"])
    let resolved = try configuration.resolve()
    #expect(resolved.compaction == .revision(count: 1000))
    #expect(resolved.dataDirectoryPath == "/var/lib/martlet")
    let settings = Set(loaded.notices.map(\.setting))
    #expect(settings.contains("--feature-gates"))
    #expect(!settings.contains("client-cert-auth"), "set to its default")
  }

  @Test("the file alone counts; what else was set is noted")
  func alone() throws {
    let loaded = try load(
      yaml: "max-txn-ops: 9",
      ["--snapshot-count=5"],
      ["ETCD_NAME": "x", "ETCD_MAX_TXN_OPS": "4"]
    )
    #expect(loaded.configuration.maxTxnOps == 9)
    #expect(loaded.configuration.snapshotCount == ServerConfiguration().snapshotCount)
    #expect(loaded.configuration.name == "default")
    #expect(loaded.notices.map(\.setting) == ["--snapshot-count", "ETCD_NAME", "ETCD_MAX_TXN_OPS"])
  }

  @Test("the variable names a file, too; an empty file is all defaults")
  func variable() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("", to: "empty.yaml")
    let loaded = try MartletServerTests.load([], ["ETCD_CONFIG_FILE": file])
    #expect(loaded.configuration == ServerConfiguration())
    #expect(loaded.notices.isEmpty)
    withExtendedLifetime(folder) {}
  }

  @Test("an unknown key is noted, with the name that was meant")
  func unknownKey() throws {
    let loaded = try load(yaml: "nmae: x\nclient-transport-security: {cret-file: y}")
    #expect(loaded.notices.map(\.setting) == ["nmae", "client-transport-security.cret-file"])
    #expect(loaded.notices.first?.message.contains("Did you mean name?") == true)
  }

  @Test(
    "refused",
    arguments: [
      ("snapshot-count: many", "snapshot-count: expected an integer"),
      ("name: [a", "no valid YAML"),
      ("- name", "keys and values at its top"),
      ("just text", "keys and values at its top"),
      ("name: {a: b}", "a single value or a list"),
      ("log-outputs: [[a]]", "must hold texts"),
      ("client-transport-security: yes", "must hold keys and values"),
      ("name: a\nname: b", "no valid YAML"),
    ]
  )
  func refused(yaml: String, text: String) {
    let error = #expect(throws: ConfigurationError.self) { try load(yaml: yaml) }
    #expect(error?.message.contains(text) == true, "\(error?.message ?? "")")
    #expect(error?.exitCode == 1)
  }

  @Test("no such file, a directory, too large")
  func unreadable() throws {
    let folder = try TemporaryFolder()
    let large = try folder.write(String(repeating: "# text\n", count: 200_000), to: "large")
    for path in ["\(folder.path)/none", folder.path, large] {
      let failure = try #require(refusal(["--config-file", path]))
      #expect(failure.exitCode == 1)
      #expect(failure.text.contains("configuration file \(path)"))
    }
  }
}

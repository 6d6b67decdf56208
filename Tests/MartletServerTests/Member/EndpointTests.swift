import MartletServer
import Proto
import RPC
import Testing

@Suite("A running member: plain HTTP")
struct EndpointTests {
  @Test("health, probes and version")
  func probes() async throws {
    try await withMember { member in
      let port = member.port
      let health = try await HTTPExchange.get("/health", port: port)
      #expect(health.status == 200)
      #expect(health.body == #"{"health":"true","reason":""}"#)
      #expect(health.head.contains("application/json"))
      let serializable = try await HTTPExchange.get("/health?serializable=true", port: port)
      #expect(serializable.body == health.body)
      let version = try await HTTPExchange.get("/version", port: port)
      #expect(
        version.body == #"{"etcdserver":"3.6.0","etcdcluster":"3.6.0","storage":"3.6.0"}"#
      )

      #expect(try await HTTPExchange.get("/livez", port: port).body == "ok\n")
      #expect(try await HTTPExchange.get("/readyz", port: port).body == "ok\n")
      #expect(
        try await HTTPExchange.get("/livez?verbose", port: port).body
          == "[+]serializable_read ok\nlivez check passed\n"
      )
      #expect(
        try await HTTPExchange.get("/readyz?verbose", port: port).body
          == "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n"
          + "readyz check passed\n"
      )
      #expect(
        try await HTTPExchange.get("/readyz?verbose&exclude=linearizable_read", port: port).body
          == "[+]data_corruption ok\n[+]serializable_read ok\n"
          + "[+]linearizable_read excluded: ok\nreadyz check passed\n"
      )
      #expect(
        try await HTTPExchange.get("/readyz/linearizable_read?verbose", port: port).body
          == "[+]linearizable_read ok\nreadyz check passed\n"
      )
      for target in ["/livez/linearizable_read", "/readyz/nothing", "/readyz/a/b", "/", "/healthy"]
      {
        #expect(try await HTTPExchange.get(target, port: port).status == 404, "\(target)")
      }
      #expect(try await HTTPExchange.get("/health", port: port, method: "PUT").status == 405)
      let head = try await HTTPExchange.get("/health", port: port, method: "HEAD")
      #expect(head.status == 200 && head.body.isEmpty)
    }
  }

  /// Names that dashboards for etcd ask for, with their types there.
  static let metrics = [
    "etcd_cluster_version gauge", "etcd_debugging_mvcc_compact_revision gauge",
    "etcd_debugging_mvcc_current_revision gauge", "etcd_debugging_mvcc_keys_total gauge",
    "etcd_disk_backend_commit_duration_seconds histogram",
    "etcd_disk_wal_fsync_duration_seconds histogram", "etcd_disk_wal_write_bytes_total gauge",
    "etcd_mvcc_db_total_size_in_bytes gauge", "etcd_mvcc_db_total_size_in_use_in_bytes gauge",
    "etcd_mvcc_delete_total counter", "etcd_mvcc_put_total counter",
    "etcd_mvcc_range_total counter", "etcd_mvcc_txn_total counter",
    "etcd_network_client_grpc_received_bytes_total counter",
    "etcd_network_client_grpc_sent_bytes_total counter", "etcd_server_has_leader gauge",
    "etcd_server_health_failures counter", "etcd_server_health_success counter",
    "etcd_server_id gauge", "etcd_server_is_leader gauge", "etcd_server_is_learner gauge",
    "etcd_server_leader_changes_seen_total counter", "etcd_server_proposals_applied_total gauge",
    "etcd_server_proposals_committed_total gauge", "etcd_server_proposals_failed_total counter",
    "etcd_server_proposals_pending gauge", "etcd_server_quota_backend_bytes gauge",
    "etcd_server_version gauge", "grpc_server_handled_total counter",
    "grpc_server_msg_received_total counter", "grpc_server_msg_sent_total counter",
    "grpc_server_started_total counter", "os_fd_limit gauge", "os_fd_used gauge",
    "process_cpu_seconds_total counter", "process_max_fds gauge", "process_open_fds gauge",
    "process_resident_memory_bytes gauge", "process_start_time_seconds gauge",
    "process_virtual_memory_bytes gauge",
  ]

  @Test("metrics have etcd's names, types and labels, and count")
  func metrics() async throws {
    try await withMember { member in
      for number in 0..<5 { _ = try await member.kv.put(.init("k\(number)", "v")) }
      _ = try await member.kv.deleteRange(.init(key: Array("k0".utf8)))
      await expectFailure(.invalidArgument) { _ = try await member.kv.put(.init("", "")) }
      _ = try await HTTPExchange.get("/health", port: member.port)
      let page = try await HTTPExchange.get("/metrics", port: member.port)
      #expect(page.head.contains("text/plain; version=0.0.4"))
      let lines = Set(page.body.split(separator: "\n").map(String.init))
      for metric in Self.metrics { #expect(lines.contains("# TYPE \(metric)"), "\(metric)") }
      let put = #"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#
      for line in [
        "etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_mvcc_put_total 5",
        "etcd_mvcc_delete_total 1", "etcd_debugging_mvcc_current_revision 7",
        "etcd_debugging_mvcc_keys_total 5", "etcd_server_health_success 1",
        #"etcd_server_id{server_id="8e9e05c52164694d"} 1"#,
        #"etcd_server_version{server_version="3.6.0"} 1"#,
        "grpc_server_started_total{\(put)} 6",
        "grpc_server_handled_total{grpc_code=\"OK\",\(put)} 5",
        "grpc_server_handled_total{grpc_code=\"InvalidArgument\",\(put)} 1",
      ] { #expect(lines.contains(line), "\(line)") }
    }
  }
}

import Base
import MartletServer
import Proto
import RPC
import Testing

@Suite("Metrics of a running member")
struct MetricsTests {
  /// What contract/metrics.md names and this server has, with the types of etcd.
  static let types = [
    "etcd_cluster_version": "gauge",
    "etcd_debugging_auth_revision": "gauge",
    "etcd_debugging_lease_granted_total": "counter",
    "etcd_debugging_lease_renewed_total": "counter",
    "etcd_debugging_lease_revoked_total": "counter",
    "etcd_debugging_lease_ttl_total": "histogram",
    "etcd_debugging_mvcc_compact_revision": "gauge",
    "etcd_debugging_mvcc_current_revision": "gauge",
    "etcd_debugging_mvcc_db_compaction_keys_total": "counter",
    "etcd_debugging_mvcc_db_compaction_last": "gauge",
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds": "histogram",
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds": "histogram",
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds": "histogram",
    "etcd_debugging_mvcc_events_total": "counter",
    "etcd_debugging_mvcc_keys_total": "gauge",
    "etcd_debugging_mvcc_pending_events_total": "gauge",
    "etcd_debugging_mvcc_slow_watcher_total": "gauge",
    "etcd_debugging_mvcc_watch_stream_total": "gauge",
    "etcd_debugging_mvcc_watcher_total": "gauge",
    "etcd_debugging_mvcc_range_total": "counter",
    "etcd_debugging_mvcc_total_put_size_in_bytes": "gauge",
    "etcd_debugging_server_lease_expired_total": "counter",
    "etcd_disk_backend_commit_duration_seconds": "histogram",
    "etcd_disk_backend_defrag_duration_seconds": "histogram",
    "etcd_disk_backend_snapshot_duration_seconds": "histogram",
    "etcd_disk_defrag_inflight": "gauge",
    "etcd_disk_wal_fsync_duration_seconds": "histogram",
    "etcd_disk_wal_write_bytes_total": "gauge",
    "etcd_disk_wal_write_duration_seconds": "histogram",
    "etcd_mvcc_db_open_read_transactions": "gauge",
    "etcd_mvcc_db_total_size_in_bytes": "gauge",
    "etcd_mvcc_db_total_size_in_use_in_bytes": "gauge",
    "etcd_mvcc_delete_total": "counter",
    "etcd_mvcc_hash_duration_seconds": "histogram",
    "etcd_mvcc_hash_rev_duration_seconds": "histogram",
    "etcd_mvcc_put_total": "counter",
    "etcd_mvcc_range_total": "counter",
    "etcd_mvcc_txn_total": "counter",
    "etcd_network_client_grpc_received_bytes_total": "counter",
    "etcd_network_client_grpc_sent_bytes_total": "counter",
    "etcd_server_apply_duration_seconds": "histogram",
    "etcd_server_client_requests_total": "counter",
    "etcd_server_has_leader": "gauge",
    "etcd_server_health_failures": "counter",
    "etcd_server_health_success": "counter",
    "etcd_server_heartbeat_send_failures_total": "counter",
    "etcd_server_id": "gauge",
    "etcd_server_is_leader": "gauge",
    "etcd_server_is_learner": "gauge",
    "etcd_server_leader_changes_seen_total": "counter",
    "etcd_server_learner_promote_successes": "counter",
    "etcd_server_proposals_applied_total": "gauge",
    "etcd_server_proposals_committed_total": "gauge",
    "etcd_server_proposals_failed_total": "counter",
    "etcd_server_proposals_pending": "gauge",
    "etcd_server_quota_backend_bytes": "gauge",
    "etcd_server_read_indexes_failed_total": "counter",
    "etcd_server_slow_apply_total": "counter",
    "etcd_server_slow_read_indexes_total": "counter",
    "etcd_server_snapshot_apply_in_progress_total": "gauge",
    "etcd_server_version": "gauge",
    "grpc_server_handled_total": "counter",
    "grpc_server_msg_received_total": "counter",
    "grpc_server_msg_sent_total": "counter",
    "grpc_server_started_total": "counter",
    "os_fd_limit": "gauge",
    "os_fd_used": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_network_receive_bytes_total": "counter",
    "process_network_transmit_bytes_total": "counter",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
    "process_virtual_memory_max_bytes": "gauge",
  ]

  /// What the alert rules in common use ask for: metric and the labels they group or filter by.
  static let alerts: [(name: String, labels: Set<String>)] = [
    ("etcd_server_has_leader", []), ("etcd_server_leader_changes_seen_total", []),
    ("grpc_server_handled_total", ["grpc_code", "grpc_method", "grpc_service", "grpc_type"]),
    ("grpc_server_handling_seconds_bucket", ["grpc_method", "grpc_service", "grpc_type", "le"]),
    ("etcd_server_proposals_failed_total", []),
    ("etcd_disk_wal_fsync_duration_seconds_bucket", ["le"]),
    ("etcd_disk_backend_commit_duration_seconds_bucket", ["le"]),
    ("etcd_mvcc_db_total_size_in_bytes", []), ("etcd_server_quota_backend_bytes", []),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", []), ("process_resident_memory_bytes", []),
    ("etcd_network_client_grpc_received_bytes_total", []),
    ("etcd_network_client_grpc_sent_bytes_total", []),
    ("etcd_server_client_requests_total", ["client_api_version", "type"]),
    ("etcd_server_apply_duration_seconds_bucket", ["le", "op", "success", "version"]),
    ("etcd_server_id", ["server_id"]), ("etcd_server_version", ["server_version"]),
    ("etcd_cluster_version", ["cluster_version"]),
  ]

  @Test("every promised name is there, with etcd's type and a help")
  func names() async throws {
    try await withMember { member in
      _ = try await member.kv.put(.init("k", "v"))
      let scrape = try await MetricsScrape.of(member)
      for (name, type) in Self.types {
        #expect(scrape.types[name] == type, "\(name)")
        #expect(scrape.helps.contains(name), "\(name)")
      }
      for name in scrape.types.keys {
        for absent in ["go_", "etcd_debugging_store_", "etcd_grpc_proxy_", "rafthttp_"] {
          #expect(!name.hasPrefix(absent), "\(name)")
        }
      }
    }
  }

  @Test("the metrics of common alert rules are there with the labels they use")
  func alertRules() async throws {
    try await withMember(\.metrics, "extensive") { member in
      _ = try await member.kv.put(.init("k", "v"))
      let scrape = try await MetricsScrape.of(member)
      for (name, labels) in Self.alerts {
        let found = scrape.labels(of: name)
        #expect(!found.isEmpty && found.allSatisfy { $0 == labels }, "\(name): \(found)")
      }
    }
  }

  @Test("counters move by exactly what was done")
  func growth() async throws {
    try await withMember { member in
      let before = try await MetricsScrape.of(member)
      for number in 0..<5 { _ = try await member.kv.put(.init("k\(number)", "value")) }
      _ = try await member.kv.deleteRange(.init(key: Array("k0".utf8)))
      await expectFailure(.invalidArgument) { _ = try await member.kv.put(.init("", "")) }
      _ = try await member.kv.range(.init("k1"))
      _ = try await HTTPExchange.get("/health", port: member.port)
      let after = try await MetricsScrape.of(member)
      let growth = after.growth(since: before)
      let put = #"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#
      let applied = #"op="Put",success="true",version="v3""#
      let expected: [String: Double] = [
        "etcd_mvcc_put_total": 5,
        "etcd_mvcc_delete_total": 1,
        "etcd_mvcc_range_total": 1,
        "etcd_debugging_mvcc_range_total": 1,
        "etcd_debugging_mvcc_total_put_size_in_bytes": 35,
        "etcd_debugging_mvcc_current_revision": 6,
        "etcd_debugging_mvcc_keys_total": 5,
        "etcd_server_proposals_applied_total": 6,
        "etcd_server_proposals_committed_total": 6,
        "etcd_server_health_success": 1,
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"}": 8,
        "grpc_server_started_total{\(put)}": 6,
        "grpc_server_handled_total{grpc_code=\"OK\",\(put)}": 5,
        "grpc_server_handled_total{grpc_code=\"InvalidArgument\",\(put)}": 1,
        "grpc_server_msg_received_total{\(put)}": 6,
        "grpc_server_msg_sent_total{\(put)}": 5,
        "etcd_server_apply_duration_seconds_count{\(applied)}": 5,
        "etcd_server_apply_duration_seconds_bucket{le=\"+Inf\",\(applied)}": 5,
      ]
      for (line, count) in expected {
        let found = growth[line] ?? growth[Self.reordered(line)]
        #expect(found == count, "\(line)")
      }
      #expect((growth["etcd_disk_wal_fsync_duration_seconds_count"] ?? 0) >= 1)
      #expect((growth["etcd_disk_wal_write_bytes_total"] ?? 0) > 0)
      #expect(growth["etcd_server_proposals_failed_total"] == nil)
      #expect(growth["etcd_server_slow_apply_total"] == nil)
      #expect(after.values["etcd_server_has_leader"] == 1)
      #expect(after.values["etcd_server_is_leader"] == 1)
      #expect(after.values["etcd_server_is_learner"] == 0)
      #expect(after.values["etcd_server_proposals_pending"] == 0)
      #expect(after.values["etcd_server_quota_backend_bytes"] == 2_147_483_648)
      #expect(after.values[#"etcd_server_id{server_id="8e9e05c52164694d"}"#] == 1)
      #expect(after.values[#"etcd_server_version{server_version="3.6.0"}"#] == 1)
      #expect(after.values[#"etcd_cluster_version{cluster_version="3.6"}"#] == 1)
    }
  }

  /// The same line with `le` last, as histograms have it.
  private static func reordered(_ line: String) -> String {
    guard let open = line.firstIndex(of: "{") else { return line }
    let labels = line[line.index(after: open)...].dropLast().split(separator: ",")
    let others = labels.filter { !$0.hasPrefix("le=") }
    let bounds = labels.filter { $0.hasPrefix("le=") }
    return "\(line[...open])\((others + bounds).joined(separator: ","))}"
  }

  @Test("leases are counted")
  func leases() async throws {
    try await withMember { member in
      let leases = LeaseClient(member.client)
      for (id, seconds) in [(1, 60), (2, 70), (3, 4000)] as [(Int64, Int64)] {
        _ = try await leases.leaseGrant(.init(ttl: seconds, id: id))
      }
      _ = try await leases.leaseRevoke(.init(id: 2))
      let values = try await MetricsScrape.of(member).values
      #expect(values["etcd_debugging_lease_granted_total"] == 3)
      #expect(values["etcd_debugging_lease_revoked_total"] == 1)
      #expect(values["etcd_debugging_lease_ttl_total_sum"] == 4130)
      #expect(values[#"etcd_debugging_lease_ttl_total_bucket{le="64"}"#] == 1)
      #expect(values[#"etcd_debugging_lease_ttl_total_bucket{le="4096"}"#] == 3)
    }
  }

  @Test("maintenance is measured: hashes, compaction, defragmentation, snapshots")
  func maintenance() async throws {
    try await withMember { member in
      for _ in 0..<10 { _ = try await member.kv.put(.init("k", "v")) }
      _ = try await member.kv.compact(.init(revision: 8, physical: true))
      _ = try await member.maintenance.hash(.init())
      _ = try await member.maintenance.hashKV(.init())
      _ = try await member.maintenance.defragment(.init())
      for try await _ in try await member.maintenance.snapshot(.init()) {}
      let scrape = try await MetricsScrape.of(member)
      for name in [
        "etcd_mvcc_hash_duration_seconds", "etcd_mvcc_hash_rev_duration_seconds",
        "etcd_disk_backend_defrag_duration_seconds", "etcd_disk_backend_snapshot_duration_seconds",
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
      ] {
        #expect(scrape.values["\(name)_count"] == 1, "\(name)")
      }
      let pauses = "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds_count"
      #expect((scrape.values[pauses] ?? 0) >= 1)
      #expect(scrape.values["etcd_disk_defrag_inflight"] == 0)
      #expect(scrape.values["etcd_debugging_mvcc_db_compaction_keys_total"] == 6)
      #expect((scrape.values["etcd_debugging_mvcc_db_compaction_last"] ?? 0) > 1.7e9)
      #expect((scrape.values["etcd_disk_backend_commit_duration_seconds_count"] ?? 0) >= 1)
    }
  }

  @Test("--metrics=extensive adds the time of calls by method, basic does not")
  func extensive() async throws {
    let name = "grpc_server_handling_seconds"
    let put = #"{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#
    try await withMember(\.metrics, "extensive") { member in
      for _ in 0..<7 { _ = try await member.kv.put(.init("k", "v")) }
      let scrape = try await MetricsScrape.of(member)
      #expect(scrape.types[name] == "histogram")
      #expect(scrape.values["\(name)_count\(put)"] == 7)
      #expect((scrape.values["\(name)_sum\(put)"] ?? 0) > 0)
    }
    try await withMember { member in
      _ = try await member.kv.put(.init("k", "v"))
      #expect(try await MetricsScrape.of(member).types[name] == nil)
    }
  }

  @Test("two members of one process do not mix")
  func members() async throws {
    try await withMember { first in
      try await withMember { second in
        _ = try await first.kv.put(.init("k", "v"))
        #expect(try await MetricsScrape.of(first).values["etcd_mvcc_put_total"] == 1)
        let other = try await MetricsScrape.of(second)
        #expect(other.values["etcd_mvcc_put_total"] == 0)
        #expect(
          other.values.filter {
            $0.key.hasPrefix("etcd_server_apply") && $0.key.contains(#"op="Put""#)
          }
          .isEmpty
        )
      }
    }
  }
}

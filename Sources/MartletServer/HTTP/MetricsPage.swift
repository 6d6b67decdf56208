import Base
import Glibc
import MVCC
import NIOCore
import RPC
import Raft
import Replica
import Storage

/// The text of /metrics, in Prometheus' exposition format, under the names that dashboards for
/// etcd ask for. Only what is measured is shown.
struct MetricsPage: Sendable {
  let member: MemberContext
  let disk: DiskMetrics
  let loops: LoopTable

  func text() async -> String {
    var page = MetricsWriter()
    let status = member.status.current
    let isLeader = status.role == .leader
    page.gauge("etcd_server_has_leader", status.leader == .none ? 0 : 1)
    page.gauge("etcd_server_is_leader", isLeader ? 1 : 0)
    page.gauge("etcd_server_is_learner", 0)
    page.labelled(
      "etcd_server_id",
      "gauge",
      [(#"server_id="\#(member.memberID)""#, 1)]
    )
    page.labelled(
      "etcd_server_version",
      "gauge",
      [(#"server_version="\#(Version.etcdCompatible)""#, 1)]
    )
    page.labelled(
      "etcd_cluster_version",
      "gauge",
      [(#"cluster_version="\#(Version.etcdCompatible)""#, 1)]
    )
    page.counter("etcd_server_leader_changes_seen_total", Double(status.leaderChanges))
    page.gauge("etcd_server_proposals_committed_total", Double(status.committed.rawValue))
    page.gauge("etcd_server_proposals_applied_total", Double(status.applied.rawValue))
    page.gauge(
      "etcd_server_proposals_pending",
      Double(status.lastIndex.rawValue - status.applied.rawValue)
    )
    page.counter("etcd_server_proposals_failed_total", Double(status.proposalsFailed))
    page.counter("etcd_server_health_success", Double(member.healthSuccesses.value))
    page.counter("etcd_server_health_failures", Double(member.healthFailures.value))
    page.gauge("etcd_server_quota_backend_bytes", Double(member.settings.quotaBytes))
    addStore(to: &page)
    page.histogram("etcd_disk_wal_fsync_duration_seconds", disk.syncs)
    page.gauge("etcd_disk_wal_write_bytes_total", Double(disk.bytesWritten.value))
    page.histogram("etcd_disk_backend_commit_duration_seconds", disk.commits)
    addCalls(await counters(), to: &page)
    ProcessMetrics.add(to: &page)
    return page.text
  }

  private func addStore(to page: inout MetricsWriter) {
    let store = member.store
    let counters = store.statistics
    page.gauge("etcd_debugging_mvcc_current_revision", Double(store.currentRevision.rawValue))
    page.gauge("etcd_debugging_mvcc_compact_revision", Double(store.compactedRevision.rawValue))
    page.gauge("etcd_debugging_mvcc_keys_total", Double(counters.keys))
    page.counter("etcd_mvcc_put_total", Double(counters.puts))
    page.counter("etcd_mvcc_delete_total", Double(counters.deletes))
    page.counter("etcd_mvcc_range_total", Double(counters.ranges))
    page.counter("etcd_mvcc_txn_total", Double(counters.txns))
    page.gauge("etcd_mvcc_db_total_size_in_bytes", Double(member.storage.base.bytesOnDisk))
    page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", Double(member.storage.base.bytesInUse))
  }

  /// The calls of all event loops together.
  private func counters() async -> RPCCounters {
    var sum = RPCCounters()
    for loop in loops.all {
      if let counters = try? await loop.eventLoop.submit({ loop.calls.counters }).get() {
        sum.add(counters)
      }
    }
    return sum
  }

  private func addCalls(_ counters: RPCCounters, to page: inout MetricsWriter) {
    page.counter("etcd_network_client_grpc_received_bytes_total", Double(counters.bytesReceived))
    page.counter("etcd_network_client_grpc_sent_bytes_total", Double(counters.bytesSent))
    let methods = counters.methods.map { ($0, Self.labels(of: $0)) }
    page.labelled(
      "grpc_server_started_total",
      "counter",
      methods.map { ($0.1, Double($0.0.started)) }
    )
    page.labelled(
      "grpc_server_msg_received_total",
      "counter",
      methods.map { ($0.1, Double($0.0.messagesReceived)) }
    )
    page.labelled(
      "grpc_server_msg_sent_total",
      "counter",
      methods.map { ($0.1, Double($0.0.messagesSent)) }
    )
    var handled: [(String, Double)] = []
    for (method, labels) in methods {
      for code in RPCCode.allCases where method.handled[Int(code.rawValue)] > 0 {
        handled.append(
          (#"grpc_code="\#(code.name)",\#(labels)"#, Double(method.handled[Int(code.rawValue)]))
        )
      }
    }
    page.labelled("grpc_server_handled_total", "counter", handled)
  }

  private static func labels(of method: MethodCounters) -> String {
    let parts = method.path.split(separator: "/").map(String.init)
    let type =
      switch (method.requestStreaming, method.responseStreaming) {
      case (false, false): "unary"
      case (true, false): "client_stream"
      case (false, true): "server_stream"
      case (true, true): "bidi_stream"
      }
    return
      #"grpc_method="\#(parts.last ?? "")",grpc_service="\#(parts.first ?? "")",grpc_type="\#(type)""#
  }
}

/// Builds a page in Prometheus' text format.
struct MetricsWriter {
  private(set) var text = ""

  mutating func gauge(_ name: String, _ value: Double) {
    labelled(name, "gauge", [("", value)])
  }

  mutating func counter(_ name: String, _ value: Double) {
    labelled(name, "counter", [("", value)])
  }

  /// One metric with a line for each set of labels; nothing when there is none.
  mutating func labelled(_ name: String, _ type: String, _ lines: [(labels: String, value: Double)])
  {
    guard !lines.isEmpty else { return }
    text += "# TYPE \(name) \(type)\n"
    for line in lines {
      let labels = line.labels.isEmpty ? "" : "{\(line.labels)}"
      text += "\(name)\(labels) \(Self.format(line.value))\n"
    }
  }

  mutating func histogram(_ name: String, _ histogram: DurationHistogram) {
    let (cumulative, seconds, count) = histogram.snapshot
    text += "# TYPE \(name) histogram\n"
    for (bound, value) in zip(histogram.bounds, cumulative) {
      text += "\(name)_bucket{le=\"\(bound)\"} \(value)\n"
    }
    text += "\(name)_bucket{le=\"+Inf\"} \(count)\n"
    text += "\(name)_sum \(seconds)\n\(name)_count \(count)\n"
  }

  private static func format(_ value: Double) -> String {
    Int64(exactly: value).map(String.init) ?? String(value)
  }
}

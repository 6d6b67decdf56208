import Base
import Lease
import MVCC
import Membership
import NIOCore
import Prometheus
import RPC
import Raft
import Replica
import Storage

/// What a member knows without measuring, gathered when somebody asks: nothing of it costs the
/// requests anything.
struct MemberCollector: Sendable {
  let member: MemberContext
  let base: LMDBStorage
  let loops: LoopTable

  func families() async -> [MetricFamily] {
    serverFamilies + storeFamilies + watchFamilies + leaseAndAuthFamilies + peerFamilies
      + Self.callFamilies(await counters())
  }

  private var serverFamilies: [MetricFamily] {
    let status = member.status.current
    let own = member.status.memberList[member.memberID]
    return [
      MetricFamily(MetricCatalog.hasLeader, status.leader == .none ? 0 : 1),
      MetricFamily(MetricCatalog.isLeader, status.role == .leader ? 1 : 0),
      MetricFamily(MetricCatalog.isLearner, own?.isLearner == true ? 1 : 0),
      Self.constant(MetricCatalog.serverID, "server_id", "\(member.memberID)"),
      Self.constant(MetricCatalog.serverVersion, "server_version", Version.etcdCompatible),
      Self.constant(
        MetricCatalog.clusterVersion,
        "cluster_version",
        clusterVersion
      ),
      MetricFamily(MetricCatalog.leaderChanges, Double(status.leaderChanges)),
      MetricFamily(MetricCatalog.proposalsCommitted, Double(status.committed.rawValue)),
      MetricFamily(MetricCatalog.proposalsApplied, Double(status.applied.rawValue)),
      MetricFamily(
        MetricCatalog.proposalsPending,
        Double(status.lastIndex.rawValue) - Double(status.applied.rawValue)
      ),
      MetricFamily(MetricCatalog.proposalsFailed, Double(status.proposalsFailed)),
      MetricFamily(MetricCatalog.quotaBytes, Double(member.settings.quotaBytes)),
    ]
  }

  /// What the members have agreed on, empty as long as they have not. A lone member decides by itself.
  private var clusterVersion: String {
    let members = member.status.memberList
    guard members.clusterVersion.isEmpty, members.members.count == 1 else {
      return members.clusterVersion.split(separator: ".").prefix(2).joined(separator: ".")
    }
    return Version.etcdCompatible.split(separator: ".").prefix(2).joined(separator: ".")
  }

  /// A metric that tells something by its label alone.
  private static func constant(
    _ definition: MetricDefinition,
    _ label: String,
    _ value: String
  ) -> MetricFamily {
    MetricFamily(definition, [MetricSample(.number(1), [MetricLabel(label, value)])])
  }

  private var storeFamilies: [MetricFamily] {
    let store = member.store
    let statistics = store.statistics
    return [
      MetricFamily(MetricCatalog.currentRevision, Double(store.currentRevision.rawValue)),
      MetricFamily(MetricCatalog.compactRevision, Double(store.compactedRevision.rawValue)),
      MetricFamily(MetricCatalog.keys, Double(statistics.keys)),
      MetricFamily(MetricCatalog.puts, Double(statistics.puts)),
      MetricFamily(MetricCatalog.deletes, Double(statistics.deletes)),
      MetricFamily(MetricCatalog.ranges, Double(statistics.ranges)),
      MetricFamily(MetricCatalog.rangesOldName, Double(statistics.ranges)),
      MetricFamily(MetricCatalog.txns, Double(statistics.txns)),
      MetricFamily(MetricCatalog.putBytes, Double(statistics.putBytes)),
      MetricFamily(MetricCatalog.compactedKeys, Double(statistics.compactedKeys)),
      MetricFamily(MetricCatalog.fileBytes, Double(base.bytesOnDisk)),
      MetricFamily(MetricCatalog.fileBytesInUse, Double(base.bytesInUse)),
      MetricFamily(MetricCatalog.openReads, Double(base.openReads)),
    ]
  }

  private var watchFamilies: [MetricFamily] {
    let watches = member.watchStatistics
    return [
      MetricFamily(MetricCatalog.watchers, Double(watches.watchers)),
      MetricFamily(MetricCatalog.watchStreams, Double(watches.streams)),
      MetricFamily(MetricCatalog.slowWatchers, Double(watches.slowWatchers)),
      MetricFamily(MetricCatalog.watchEvents, Double(watches.eventsTotal)),
      MetricFamily(MetricCatalog.pendingWatchEvents, Double(watches.pendingEvents)),
    ]
  }

  private var leaseAndAuthFamilies: [MetricFamily] {
    let leases = member.leases.statistics
    let timesToLive = HistogramSnapshot(
      bounds: LeaseStatistics.timeToLiveBounds.map(Double.init),
      counts: leases.timeToLiveCounts,
      sum: leases.timeToLiveSum
    )
    return [
      MetricFamily(MetricCatalog.authRevision, Double(member.auth.revision)),
      MetricFamily(MetricCatalog.leasesGranted, Double(leases.granted)),
      MetricFamily(MetricCatalog.leasesRevoked, Double(leases.revoked)),
      MetricFamily(MetricCatalog.leasesRenewed, Double(leases.renewed)),
      MetricFamily(MetricCatalog.leasesExpired, Double(leases.expired)),
      MetricFamily(
        MetricCatalog.leaseTimesToLive,
        [MetricSample(.histogram(timesToLive))]
      ),
    ]
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

  private static func callFamilies(_ counters: RPCCounters) -> [MetricFamily] {
    let methods = counters.methods.map { (counters: $0, labels: labels(of: $0)) }
    func count(_ value: KeyPath<MethodCounters, UInt64>) -> [MetricSample] {
      methods.map { MetricSample(.number(Double($0.counters[keyPath: value])), $0.labels) }
    }
    let handled = methods.flatMap { method in
      RPCCode.allCases.compactMap { code -> MetricSample? in
        let count = method.counters.handled[Int(code.rawValue)]
        // OK is there from the start: a rate over errors divides by it.
        guard count > 0 || code == .ok else { return nil }
        return MetricSample(
          .number(Double(count)),
          method.labels + [MetricLabel("grpc_code", code.name)]
        )
      }
    }
    return [
      MetricFamily(MetricCatalog.callsStarted, count(\.started)),
      MetricFamily(MetricCatalog.callsHandled, handled),
      MetricFamily(MetricCatalog.messagesReceived, count(\.messagesReceived)),
      MetricFamily(MetricCatalog.messagesSent, count(\.messagesSent)),
      MetricFamily(MetricCatalog.callDuration, durations(methods)),
      MetricFamily(MetricCatalog.clientRequests, clientRequests(counters.clients)),
      MetricFamily(MetricCatalog.bytesReceived, Double(counters.bytesReceived)),
      MetricFamily(MetricCatalog.bytesSent, Double(counters.bytesSent)),
    ]
  }

  private static func durations(
    _ methods: [(counters: MethodCounters, labels: [MetricLabel])]
  ) -> [MetricSample] {
    methods.compactMap { method in
      method.counters.latency.map { latency in
        let snapshot = HistogramSnapshot(
          bounds: CallLatency.bounds,
          counts: latency.counts,
          sum: Double(latency.nanoseconds) / 1e9
        )
        return MetricSample(.histogram(snapshot), method.labels)
      }
    }
  }

  private static func clientRequests(_ clients: [ClientCounters]) -> [MetricSample] {
    clients.flatMap { client in
      [("unary", client.unaryCalls), ("stream", client.streamCalls)].compactMap { type, count in
        guard count > 0 else { return nil }
        return MetricSample(
          .number(Double(count)),
          [MetricLabel("client_api_version", client.version), MetricLabel("type", type)]
        )
      }
    }
  }

  private static func labels(of method: MethodCounters) -> [MetricLabel] {
    let parts = method.path.split(separator: "/").map(String.init)
    let type =
      switch (method.requestStreaming, method.responseStreaming) {
      case (false, false): "unary"
      case (true, false): "client_stream"
      case (false, true): "server_stream"
      case (true, true): "bidi_stream"
      }
    return [
      MetricLabel("grpc_service", parts.first ?? ""), MetricLabel("grpc_method", parts.last ?? ""),
      MetricLabel("grpc_type", type),
    ]
  }
}

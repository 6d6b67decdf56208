import MemberFiles
package import Membership

/// A configuration that was checked, with its texts read: what the server is built from.
package struct ResolvedConfiguration: Sendable {
  package let source: ServerConfiguration
  /// Where the data is kept; never empty.
  package let dataDirectoryPath: String
  package let clientListeners: [ServerURL]
  /// Not empty: these serve plain HTTP, and `clientListeners` do not.
  package let clientHTTPListeners: [ServerURL]
  package let metricsListeners: [ServerURL]
  /// None when there is no TLS.
  package let security: TransportSecurityPlan?
  package let peerListeners: [ServerURL]
  /// None when there is no TLS between members.
  package let peerSecurity: PeerSecurityPlan?
  package let advertiseClientURLs: [ServerURL]
  package let advertisePeerURLs: [ServerURL]
  /// None when the founders are not looked up, or the member has data.
  let discovery: DiscoveryPlan?
  /// None when automatic compaction is off.
  package let compaction: AutoCompactor.Policy?
  package let logSettings: LogSettings
  /// Entries between two snapshots; never 0.
  package let snapshotCount: Int
  /// The quota in bytes with its default filled in; none when there is no limit.
  package let quotaBytes: Int?

  /// The quota that 0 stands for: 2 GiB.
  package static let quotaBytesDefault = 2 << 30
}

extension ServerConfiguration {
  /// Checks every value, alone and against the others.
  public func validate() throws(ConfigurationError) {
    _ = try resolve()
  }

  /// Checks every value, alone and against the others, and reads the texts among them.
  package func resolve() throws(ConfigurationError) -> ResolvedConfiguration {
    try checkNumbers()
    try checkUnbuilt()
    let clientListeners = try Self.listeners(listenClientURLs, of: "listen-client-urls")
    let httpListeners =
      try listenClientHTTPURLs.isEmpty
      ? [] : Self.listeners(listenClientHTTPURLs, of: "listen-client-http-urls")
    for url in httpListeners where clientListeners.contains(where: { $0.sharesAddress(with: url) })
    {
      throw .invalid(
        "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url \(url)."
      )
    }
    let metricsListeners =
      try listenMetricsURLs.isEmpty
      ? [] : Self.listeners(listenMetricsURLs, of: "listen-metrics-urls")
    let advertisePeerURLs = try Self.urls(
      initialAdvertisePeerURLs,
      of: "initial-advertise-peer-urls"
    )
    let peerListeners = try Self.listeners(listenPeerURLs, of: "listen-peer-urls")
    let dataDirectoryPath = dataDirectory.isEmpty ? "\(name).etcd" : dataDirectory
    // A restart goes by what is on disk, whatever the bootstrap flags say now.
    let hasData = DataDirectory.hasData(path: dataDirectoryPath)
    let discovery = try hasData ? nil : discoveryPlan()
    if !hasData, discoverySRV.isEmpty, discovery == nil { _ = try founders() }
    return ResolvedConfiguration(
      source: self,
      dataDirectoryPath: dataDirectoryPath,
      clientListeners: clientListeners,
      clientHTTPListeners: httpListeners,
      metricsListeners: metricsListeners,
      security: try transportSecurity(clientListeners + httpListeners + metricsListeners),
      peerListeners: peerListeners,
      peerSecurity: try peerSecurity(peerListeners),
      advertiseClientURLs: try Self.urls(advertiseClientURLs, of: "advertise-client-urls"),
      advertisePeerURLs: advertisePeerURLs,
      discovery: discovery,
      compaction: try AutoCompactor.Policy(
        mode: autoCompactionMode,
        retention: autoCompactionRetention
      ),
      logSettings: try LogSettings(self),
      snapshotCount: snapshotCount == 0 ? Self.snapshotCountDefault : snapshotCount,
      quotaBytes: quotaBackendBytes < 0
        ? nil
        : quotaBackendBytes == 0 ? ResolvedConfiguration.quotaBytesDefault : quotaBackendBytes
    )
  }

  private static func urls(
    _ texts: [String],
    of flag: String
  ) throws(ConfigurationError) -> [ServerURL] {
    do {
      return try ServerURL.list(texts)
    } catch {
      throw .invalid("--\(flag): \(error).")
    }
  }

  /// Reads addresses to listen on: a name would have to be looked up, and may change.
  private static func listeners(
    _ texts: [String],
    of flag: String
  ) throws(ConfigurationError) -> [ServerURL] {
    let urls = try urls(texts, of: flag)
    for url in urls where !url.isUnixSocket && !IPAddress.isListenable(url.host) {
      throw .invalid(
        "--\(flag): expected an IP address or localhost to listen on, found \(url). A name can "
          + "only be advertised."
      )
    }
    return urls
  }

  /// The members that `--initial-cluster` names, and this one among them: what a member without data
  /// founds a cluster with, or joins.
  package func founders() throws(ConfigurationError) -> (
    all: InitialCluster, own: InitialCluster.Entry
  ) {
    let advertisePeerURLs = try Self.urls(
      initialAdvertisePeerURLs,
      of: "initial-advertise-peer-urls"
    )
    guard !name.isEmpty, !name.contains(","), !name.contains("=") else {
      throw .invalid("--name must not be empty nor contain ',' or '='.")
    }
    let cluster: InitialCluster
    do {
      cluster = try InitialCluster(initialCluster)
    } catch {
      throw .invalid("--initial-cluster: \(error).")
    }
    guard let own = cluster[name] else {
      let names = cluster.entries.map(\.name).joined(separator: ", ")
      throw .invalid(
        "--initial-cluster does not contain this member's own name, \(name.debugDescription); "
          + "it names \(names)."
      )
    }
    guard PeerURLs.areEqual(own.peerURLs, advertisePeerURLs) else {
      let inCluster = own.peerURLs.map(\.description).joined(separator: ",")
      let advertised = advertisePeerURLs.map(\.description).joined(separator: ",")
      throw .invalid(
        "--initial-cluster says \(inCluster) for \(name), but --initial-advertise-peer-urls says "
          + "\(advertised); they must be the same."
      )
    }
    return (cluster, own)
  }

  /// How the founders are looked up at a discovery service; none when they are not.
  private func discoveryPlan() throws(ConfigurationError) -> DiscoveryPlan? {
    guard discoveryService.isUsed else { return nil }
    let plan = try DiscoveryPlan(discoveryService)
    guard discoverySRV.isEmpty else {
      throw .invalid("--discovery-srv and --discovery-endpoints exclude each other.")
    }
    guard initialClusterState == .new else {
      throw .invalid(
        "--discovery-endpoints is for founding a cluster; a member that joins one "
          + "(--initial-cluster-state=existing) finds its members by --initial-cluster."
      )
    }
    return plan
  }

  private func checkUnbuilt() throws(ConfigurationError) {
    guard discoveryURL.isEmpty else {
      throw .invalid(
        "--discovery: there is no v2 discovery here, as in etcd since 3.7; use "
          + "--discovery-token and --discovery-endpoints, --discovery-srv or --initial-cluster."
      )
    }
    try FeatureGates.check(featureGates)
  }
}

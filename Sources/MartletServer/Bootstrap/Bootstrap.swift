import Base
import Logging
import MemberFiles
import Membership
import Peer
import Proto
import RPC

/// Decides what a member without data starts as: by the flags, and by what its peers say.
struct Bootstrap {
  let configuration: ResolvedConfiguration
  let tls: PeerTLS?
  let logger: Logger

  /// How long a peer may take to answer.
  private static let founderTimeout = Duration.seconds(1)
  private static let joinerTimeout = Duration.seconds(5)

  /// What the member starts from. Throws `ConfigurationError` or `StartError`.
  func origin(for directory: DataDirectory) async throws -> MemberOrigin {
    if let identity = directory.identity {
      return .data(founding: founding(of: identity.memberID, in: identity.clusterID))
    }
    var source = configuration.source
    let isDiscovered = !source.discoverySRV.isEmpty
    if isDiscovered {
      let discovery = ServiceDiscovery(
        source: source,
        advertisePeerURLs: configuration.advertisePeerURLs
      )
      source.initialCluster = try await discovery.initialCluster()
      logger.notice("discovered", metadata: ["cluster": .string(source.initialCluster)])
    }
    if let plan = configuration.discovery { try await discover(plan, &source) }
    let (cluster, own) = try source.founders()
    guard source.initialClusterState == .new else { return try await join(cluster, own) }
    var table: MemberTable
    do {
      table = try MemberTable(founding: cluster, token: source.initialClusterToken)
    } catch {
      throw StartError.failed("--initial-cluster: \(error)")
    }
    guard let member = table.member(named: own.name) else {
      throw StartError.notAMember(name: own.name)
    }
    if cluster.entries.count > 1 { try await checkIsNew(member.id, table.clusterID, cluster, own) }
    // Every founder must make the same table, and a discovered member's name only it knows.
    if isDiscovered { table.forgetNames() }
    return .founding(table, own: member.id)
  }

  // MARK: Founding

  /// Asks the discovery service for the founders. They make their IDs with its token.
  private func discover(_ plan: DiscoveryPlan, _ source: inout ServerConfiguration) async throws {
    source.initialClusterToken = plan.settings.token
    source.initialCluster = configuration.advertisePeerURLs
      .map { "\(source.name)=\($0)" }.joined(separator: ",")
    let (alone, own) = try source.founders()
    let table = try MemberTable(founding: alone, token: source.initialClusterToken)
    guard let member = table.member(named: own.name) else {
      throw StartError.notAMember(name: own.name)
    }
    source.initialCluster = try await RegistryDiscovery(
      plan: plan,
      memberID: member.id,
      own: alone.description,
      logger: logger
    ).initialCluster()
    logger.notice("discovered", metadata: ["cluster": .string(source.initialCluster)])
  }

  /// What a member that has an identity was founded with, when the flags say so.
  private func founding(of id: MemberID, in clusterID: ClusterID) -> MemberTable? {
    let source = configuration.source
    guard source.initialClusterState == .new, let (cluster, own) = try? source.founders(),
      let table = try? MemberTable(founding: cluster, token: source.initialClusterToken),
      table.clusterID == clusterID, table.member(named: own.name)?.id == id
    else { return nil }
    return table
  }

  /// A founder that took part already and lost its data must not begin anew: it may have voted, and
  /// it acknowledged what others count on.
  private func checkIsNew(
    _ id: MemberID,
    _ clusterID: ClusterID,
    _ cluster: InitialCluster,
    _ own: InitialCluster.Entry
  ) async throws {
    let urls = others(cluster, own)
    let states = await withTaskGroup(
      of: Martletpb.ClusterStateResponse?.self,
      returning: [Martletpb.ClusterStateResponse].self
    ) { group in
      for url in urls {
        group.addTask { await state(at: url, timeout: Self.founderTimeout) }
      }
      var states: [Martletpb.ClusterStateResponse] = []
      for await state in group {
        if let state { states.append(state) }
      }
      return states
    }
    for state in states where state.clusterID == clusterID.rawValue {
      if state.removedIDs.contains(id.rawValue) { throw StartError.removed }
      let known = state.members.first { $0.id == id.rawValue }
      guard known?.memberAttributes?.clientURLs.isEmpty ?? true else {
        throw StartError.failed(
          "member \(id) has already been bootstrapped: it has started with this cluster before, "
            + "and its data is not in \(configuration.dataDirectoryPath). If the data is lost, "
            + "remove the member, add it again, and start it with --initial-cluster-state=existing"
        )
      }
    }
  }

  // MARK: Joining

  private func join(
    _ cluster: InitialCluster,
    _ own: InitialCluster.Entry
  ) async throws -> MemberOrigin {
    let urls = others(cluster, own)
    var answer: Martletpb.ClusterStateResponse?
    for url in urls where answer == nil {
      answer = await state(at: url, timeout: Self.joinerTimeout)
    }
    guard let answer else {
      let list = urls.map(\.description).joined(separator: ",")
      throw StartError.failed(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the "
          + "given URLs (\(list))"
      )
    }
    let members = answer.members.map { Member($0) }
    let id = try match(cluster, own, members)
    var table = MemberTable(clusterID: ClusterID(answer.clusterID))
    for member in members { try table.add(member) }
    if members.first(where: { $0.id == id })?.isStarted == true {
      throw StartError.failed(
        "member \(id) has already been bootstrapped: it has started with this cluster before, and "
          + "its data is not in \(configuration.dataDirectoryPath). If the data is lost, remove the "
          + "member and add it again"
      )
    }
    logger.notice(
      "joining a cluster",
      metadata: ["cluster": "\(table.clusterID)", "member": "\(id)"]
    )
    return .joining(table, own: id)
  }

  /// This member's ID, found by its peer URLs. The cluster's members must be those that
  /// `--initial-cluster` names.
  private func match(
    _ cluster: InitialCluster,
    _ own: InitialCluster.Entry,
    _ members: [Member]
  ) throws -> MemberID {
    let list = members.map { "\($0.id)=[\($0.peerURLs.joined(separator: " "))]" }
      .joined(separator: ", ")
    guard members.count == cluster.entries.count else {
      throw StartError.failed("error validating peerURLs {\(list)}: member count is unequal")
    }
    var left = members
    var ownID: MemberID?
    for entry in cluster.entries {
      guard let place = left.firstIndex(where: { PeerURLs.name(entry.peerURLs, $0.peerURLs) })
      else {
        let urls = entry.peerURLs.map(\.description).joined(separator: " ")
        throw StartError.failed(
          "error validating peerURLs {\(list)}: unmatched member while checking PeerURLs "
            + "(\(entry.name)=[\(urls)])"
        )
      }
      let member = left.remove(at: place)
      if entry.name == own.name { ownID = member.id }
    }
    guard let ownID else { throw StartError.notAMember(name: own.name) }
    return ownID
  }

  // MARK: Peers

  private func others(_ cluster: InitialCluster, _ own: InitialCluster.Entry) -> [ServerURL] {
    cluster.entries.filter { $0.name != own.name }.flatMap(\.peerURLs)
  }

  private func state(
    at url: ServerURL,
    timeout: Duration
  ) async -> Martletpb.ClusterStateResponse? {
    do {
      return try await PeerTransport.clusterState(at: url, tls: tls, timeout: timeout)
    } catch {
      logger.debug("a peer does not answer", metadata: ["url": "\(url)", "cause": "\(error)"])
      return nil
    }
  }
}

extension Member {
  /// What a peer says of a member.
  init(_ message: Membershippb.Member) {
    self.init(
      id: MemberID(message.id),
      name: message.memberAttributes?.name ?? "",
      peerURLs: message.raftAttributes?.peerURLs ?? [],
      clientURLs: message.memberAttributes?.clientURLs ?? [],
      isLearner: message.raftAttributes?.isLearner ?? false
    )
  }
}

extension Membershippb.Member {
  init(_ member: Member) {
    self.init()
    id = member.id.rawValue
    raftAttributes = Membershippb.RaftAttributes(
      peerURLs: member.peerURLs,
      isLearner: member.isLearner
    )
    memberAttributes = Membershippb.Attributes(name: member.name, clientURLs: member.clientURLs)
  }
}

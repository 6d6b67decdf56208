import Base
import Logging
import Membership
import Peer
import Proto
import RPC
import Raft
import Replica

/// At the leader of several members, finds the newest version that all of them understand. A lone
/// member has none to ask.
struct ClusterVersionMonitor {
  let member: MemberContext

  /// How often the leader asks, and how long it waits for one member.
  private static let interval = Duration.seconds(4)
  private static let retryInterval = Duration.milliseconds(250)
  private static let timeout = Duration.seconds(1)

  /// Runs until the task is cancelled.
  func run() async {
    while !Task.isCancelled {
      let isDecided = await look()
      try? await Task.sleep(for: isDecided ? Self.interval : Self.retryInterval)
    }
  }

  /// Returns whether there is nothing to decide for now.
  private func look() async -> Bool {
    let members = member.status.memberList
    guard members.members.count > 1 else { return true }
    guard member.status.current.role == .leader else { return !members.clusterVersion.isEmpty }
    guard let lowest = await lowestVersion(members) else { return false }
    let known = ClusterVersion(members.clusterVersion)
    // It falls by a downgrade only, which has a way of its own.
    if known == nil || known.map({ $0 < lowest }) == true {
      member.replica.post(.agreedVersion(lowest.description))
      return false
    }
    return true
  }

  /// The lowest version among the members; nil when one does not say its own.
  private func lowestVersion(_ members: MemberTable) async -> ClusterVersion? {
    guard var lowest = ClusterVersion(Version.cluster) else { return nil }
    for other in members.members where other.id != member.memberID {
      let state = try? await member.peers.call(other.id, timeout: Self.timeout) {
        (peer, options) async throws(RPCError) in
        try await peer.clusterState(Martletpb.ClusterStateRequest(), options: options)
      }
      guard let version = state.flatMap({ ClusterVersion($0.serverVersion) }) else { return nil }
      if version < lowest { lowest = version }
    }
    return lowest
  }
}

extension ClusterVersion: Comparable {
  package static func < (left: ClusterVersion, right: ClusterVersion) -> Bool {
    (left.major, left.minor) < (right.major, right.minor)
  }
}

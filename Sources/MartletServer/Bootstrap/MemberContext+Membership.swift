import Base
import Membership
import Peer
import Proto
import RPC
import Replica

// What members ask each other about the membership.
extension MemberContext {
  /// Since when a peer is connected; nil while it is not.
  func connectedSince(_ id: MemberID) -> UInt64? {
    peers.connectedSince(id)
  }

  /// What this member knows of the cluster, for a peer that asks.
  var clusterState: Martletpb.ClusterStateResponse {
    let (members, current) = (status.memberList, status.current)
    var state = Martletpb.ClusterStateResponse()
    state.clusterID = members.clusterID.rawValue
    state.memberID = memberID.rawValue
    state.serverVersion = Version.etcdCompatible
    state.clusterVersion = members.clusterVersion
    state.members = members.members.map { Membershippb.Member($0) }
    state.removedIDs = members.removedIDs.map(\.rawValue)
    state.leaderID = current.leader.rawValue
    state.appliedIndex = current.applied.rawValue
    return state
  }

  /// Has the leader make a learner a voter; returns the answer as this member gives it.
  func promoteAtLeader(
    _ id: MemberID,
    _ leader: MemberID
  ) async throws(RPCError) -> Etcdserverpb.MemberPromoteResponse {
    let request = Etcdserverpb.MemberPromoteRequest(id: id.rawValue)
    let timeout = Duration.nanoseconds(Int64(clamping: settings.proposalTimeoutNanoseconds))
    var answer = try await peers.call(leader, timeout: timeout) {
      (peer, options) async throws(RPCError) in
      try await peer.memberPromote(request, options: options)
    }
    answer.header = memberHeader
    return answer
  }

  /// Makes a learner a voter for a peer that does not lead. Throws the status that its client gets.
  func promote(
    _ request: Etcdserverpb.MemberPromoteRequest
  ) async throws(PeerRefusal) -> Etcdserverpb.MemberPromoteResponse {
    let id = MemberID(request.id)
    let refusal: RequestError? = await withCheckedContinuation { continuation in
      if !replica.post(.promotion(id) { continuation.resume(returning: $0) }) {
        continuation.resume(returning: .serverStopped)
      }
    }
    if let refusal { throw RPCStatus(refusal) }
    let deadline = MonotonicTime.now
      .advanced(byNanoseconds: settings.proposalTimeoutNanoseconds)
    while MonotonicTime.now < deadline {
      let members = status.memberList
      guard let member = members[id] else { throw RPCStatus(.memberNotFound) }
      if !member.isLearner {
        return Etcdserverpb.MemberPromoteResponse(
          header: memberHeader,
          members: members.members.map { Etcdserverpb.Member($0) }
        )
      }
      try? await Task.sleep(for: .milliseconds(Self.promotionPollMilliseconds))
    }
    throw RPCStatus(.timeout)
  }

  private static let promotionPollMilliseconds = 5

  /// The header of answers about members, which has no revision.
  private var memberHeader: Etcdserverpb.ResponseHeader {
    var header = Etcdserverpb.ResponseHeader()
    header.clusterID = clusterID.rawValue
    header.memberID = memberID.rawValue
    header.raftTerm = status.raftTerm.rawValue
    return header
  }
}

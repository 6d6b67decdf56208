import Base
import Membership
import Peer
import RPC
import Replica

// What a member of several knows of the others.
extension MemberContext {
  /// Why a request that began at `begin` has no answer when its time is over. As with all timeouts,
  /// it may have been done or may still be.
  func timeoutReason(since begin: MonotonicTime) -> RequestError {
    let elected = status.leaderSince
    let election = 2 * settings.electionTimeoutNanoseconds
    let lost = elected.nanoseconds > election ? elected.nanoseconds - election : 0
    if begin.nanoseconds > lost && begin < elected { return .timeoutLeaderFailure }
    let leader = status.current.leader
    if leader == .none { return .timeout }
    if leader == memberID {
      return isConnectedToQuorum(since: begin) ? .timeout : .timeoutConnectionLost
    }
    return isConnected(leader, since: begin) ? .timeout : .timeoutConnectionLost
  }

  private func isConnected(_ member: MemberID, since begin: MonotonicTime) -> Bool {
    peers.connectedSince(member).map { $0 <= begin.nanoseconds } ?? false
  }

  private func isConnectedToQuorum(since begin: MonotonicTime) -> Bool {
    let voters = status.memberList.members.filter { !$0.isLearner }
    let connected = voters.count { $0.id == memberID || isConnected($0.id, since: begin) }
    return connected * 2 > voters.count
  }

  /// Asks another member, for an election timeout at most.
  func callPeer<Response: Sendable>(
    _ member: MemberID,
    _ body: @Sendable (PeerClient, CallOptions) async throws(RPCError) -> Response
  ) async throws(RPCError) -> Response {
    let nanoseconds = Int64(clamping: settings.electionTimeoutNanoseconds)
    return try await peers.call(member, timeout: .nanoseconds(nanoseconds), body)
  }

  /// Suspends until everything that was acknowledged before, by any member, is applied here; returns
  /// false when that could not be found out in time.
  func becomesCurrent() async -> Bool {
    if status.readsAreLocal { return true }
    return await withCheckedContinuation { continuation in
      let isPosted = replica.post(.whenCurrent { continuation.resume(returning: $0) })
      if !isPosted { continuation.resume(returning: false) }
    }
  }

  /// Hands leadership to whom it suits; returns how that ended. When nobody leads for an election
  /// timeout after this member has stepped down, it has failed.
  func handOverLeadership() async -> LeadershipTransfer.Outcome {
    await withCheckedContinuation { continuation in
      let isPosted = replica.post(
        .transferLeadership(nil, patienceNanoseconds: settings.electionTimeoutNanoseconds) {
          continuation.resume(returning: $0)
        }
      )
      if !isPosted { continuation.resume(returning: .notLeader) }
    }
  }
}

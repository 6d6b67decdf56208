import Base
import Lease
import Proto
import RPC
import Raft
import Replica

// Leases in a cluster of several: the leader alone knows how long they live.
extension MemberContext {
  /// What a renewal is answered with, between members, that needs a checkpoint in the log first.
  static let needsCheckpointSeconds: Int64 = -1
  /// Before a leader that did not answer, or did not lead, is asked again.
  private static let retryPause = Duration.milliseconds(20)

  /// Renews leases at the leader, wherever that is; asks again, until the time of a proposal is over,
  /// while there is none.
  func renewAtLeader(_ ids: [LeaseID]) async -> Result<[LeaseRenewal], RequestError> {
    await askLeader { () async -> [LeaseRenewal]? in
      await self.renewHere(ids)
    } there: { leader in
      let request = Martletpb.LeaseRenewRequest(iDs: ids.map(\.rawValue))
      let response = try await self.callPeer(leader) {
        peer,
        options throws(RPCError) in
        try await peer.leaseRenew(request, options: options)
      }
      guard response.renewals.count == ids.count else { return nil }
      return response.renewals.map { renewal in
        switch renewal.ttl {
        case Self.needsCheckpointSeconds: .needsCheckpoint
        case ...0: .unknown
        default: .renewed(seconds: renewal.ttl)
        }
      }
    }
  }

  /// The times of a lease by the leader's clock; nil when there is no such lease.
  func timesFromLeader(of lease: LeaseID) async -> Result<LeaseTimes?, RequestError> {
    await askLeader { () async -> LeaseTimes?? in
      await self.timesHere(of: lease)
    } there: { leader in
      let request = Etcdserverpb.LeaseTimeToLiveRequest(id: lease.rawValue)
      let response = try await self.callPeer(leader) {
        peer,
        options throws(RPCError) in
        try await peer.leaseTimeToLive(request, options: options)
      }
      // The keys are told as they are here, which must not be older than the leader's word.
      guard await self.becomesCurrent() else { return nil }
      if response.ttl < 0 { return .some(nil) }
      return LeaseTimes(
        grantedSeconds: response.grantedTTL,
        remainingSeconds: response.ttl,
        keyCount: 0
      )
    }
  }

  private func askLeader<Answer: Sendable>(
    here: () async -> Answer?,
    there: (MemberID) async throws -> Answer?
  ) async -> Result<Answer, RequestError> {
    let begin = MonotonicTime.now
    let deadline = begin.advanced(byNanoseconds: settings.proposalTimeoutNanoseconds)
    while !isStopping {
      let replica = status.current
      if replica.role == .leader {
        if let answer = await here() { return .success(answer) }
      } else if replica.leader != .none, let answer = try? await there(replica.leader) {
        return .success(answer)
      }
      if MonotonicTime.now >= deadline { return .failure(timeoutReason(since: begin)) }
      try? await Task.sleep(for: Self.retryPause)
    }
    return .failure(.serverStopped)
  }

  // MARK: At the leader

  /// Renews leases, if this member leads; nil when it cannot be sure to.
  ///
  /// A quorum must have taken it for its leader after the question came, and no more than an election
  /// timeout may have passed since: nobody else can lead by then, and so nothing of what is answered
  /// can be revoked yet. A process that was paused in between asks anew.
  func renewHere(_ ids: [LeaseID]) async -> [LeaseRenewal]? {
    guard let begin = await confirmLeadership() else { return nil }
    var outcomes: [LeaseRenewal] = []
    outcomes.reserveCapacity(ids.count)
    for id in ids {
      let outcome = leases.renew(id, now: begin.nanoseconds)
      if outcome == .notPrimary { return nil }
      outcomes.append(outcome)
    }
    return isWithinLease(begin) ? outcomes : nil
  }

  private func timesHere(of lease: LeaseID) async -> LeaseTimes?? {
    guard await confirmLeadership() != nil, leases.isPrimary else { return nil }
    return .some(leases.times(of: lease, now: MonotonicTime.now.nanoseconds))
  }

  private func confirmLeadership() async -> MonotonicTime? {
    let begin = MonotonicTime.now
    guard status.current.role == .leader, await becomesCurrent(), isWithinLease(begin) else {
      return nil
    }
    return begin
  }

  private func isWithinLease(_ begin: MonotonicTime) -> Bool {
    MonotonicTime.now.nanoseconds(since: begin) < settings.electionTimeoutNanoseconds
  }

  // MARK: For peers

  /// Answers a member that asks for renewals on behalf of its clients.
  func answer(
    _ request: Martletpb.LeaseRenewRequest
  ) async throws(RPCStatus) -> Martletpb.LeaseRenewResponse {
    let ids = request.iDs.map { LeaseID($0) }
    guard let outcomes = await renewHere(ids) else { throw RPCStatus(.notLeader) }
    var response = Martletpb.LeaseRenewResponse()
    response.renewals = zip(ids, outcomes).map { id, outcome in
      let seconds: Int64 =
        switch outcome {
        case .renewed(let seconds): seconds
        case .needsCheckpoint: Self.needsCheckpointSeconds
        case .unknown, .notPrimary: 0
        }
      return Martletpb.LeaseRenewal(id: id.rawValue, ttl: seconds)
    }
    return response
  }

  /// Answers a member that asks for the times of a lease; its keys are not told.
  func answer(
    _ request: Etcdserverpb.LeaseTimeToLiveRequest
  ) async throws(RPCStatus) -> Etcdserverpb.LeaseTimeToLiveResponse {
    guard let times = await timesHere(of: LeaseID(request.id)) else {
      throw RPCStatus(.notLeader)
    }
    var response = Etcdserverpb.LeaseTimeToLiveResponse()
    response.id = request.id
    response.ttl = times?.remainingSeconds ?? -1
    response.grantedTTL = times?.grantedSeconds ?? 0
    return response
  }
}

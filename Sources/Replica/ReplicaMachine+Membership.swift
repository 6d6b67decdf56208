package import Base
import MVCC
package import Membership
package import Proto
import Raft

// Who is in the cluster: what the log says about it, and what this member does for it by itself.
extension ReplicaMachine {
  // MARK: Inputs

  /// Proposes the changes of a block of `ProposalBatch.append(_: MembershipChange)`.
  ///
  /// A promotion is made by the leader alone, which knows how far the learner is; elsewhere it is
  /// refused with `.notLeader`. Other changes go to the leader by themselves.
  package func receive(membership block: ByteBlock) {
    for request in ProposalBatch.requests(in: block) { propose(membership: request) }
  }

  private func propose(membership request: SharedBytes) {
    guard let change = request.withUnsafeBytes({ MembershipChange($0) }) else { return }
    do throws(RequestError) {
      try propose(change, request)
    } catch {
      status.proposalsFailed += 1
      let handle = request.withUnsafeBytes {
        InternalRequest($0, epoch: configuration.epoch).handle
      }
      reply(to: handle) { (_: inout ByteWriter) throws(RequestError) in throw error }
    }
  }

  private func propose(
    _ change: MembershipChange,
    _ request: SharedBytes
  ) throws(RequestError) {
    if change.kind == .promote { try checkPromotion(of: change.memberID) }
    if raft.role != .leader, raft.leader != .none {
      return forward([.configuration(change.confChange(context: request))])
    }
    do throws(ProposeError) {
      try raft.propose(change.confChange(context: request))
    } catch .configurationPending {
      // One at a time: it waits until the one under way is applied.
      guard waitingChanges.count < Self.waitingChangesMax else { throw .tooManyRequests }
      waitingChanges.append(request)
    } catch {
      throw RequestError(error)
    }
  }

  /// A change that another member sent to this leader; its message was new.
  func receive(_ change: ConfChange) throws(RequestError) {
    guard let membership = change.context.withUnsafeBytes({ MembershipChange($0) }),
      !change.entersJoint, change.changes == [membership.raftChange]
    else { return }
    try propose(membership, change.context)
  }

  /// Proposes to make a learner a voter, for another member. Only the leader can.
  package func proposePromotion(of id: MemberID) throws(RequestError) {
    try checkPromotion(of: id)
    if members[id]?.isLearner != true { throw .notLearner }
    do throws(ProposeError) {
      try raft.propose(MembershipChange(.promote, id).confChange)
    } catch {
      throw RequestError(error)
    }
  }

  /// Changes that may wait for the one before them.
  private static let waitingChangesMax = 64
  /// A learner may become a voter when it has this share of the leader's log.
  private static let readyShare = 0.9
  /// One that is promoted without being asked for lacks no more entries than this.
  private static let promotionLagEntriesMax: UInt64 = 1000

  private func checkPromotion(of id: MemberID) throws(RequestError) {
    guard status.role == .leader else { throw .notLeader }
    guard members[id] != nil, let learner = progress(of: id) else { throw .memberNotFound }
    guard isReady(learner) else { throw .learnerNotReady }
    if configuration.isReconfigurationStrict, !members.allowsPromoting(id) {
      throw .notEnoughStarted
    }
  }

  private func progress(of id: MemberID) -> PeerStatus? {
    raft.progress.first { $0.id == id }
  }

  private func isReady(_ learner: PeerStatus) -> Bool {
    let own = progress(of: configuration.memberID)?.match ?? .zero
    return Double(learner.match.rawValue) >= Double(own.rawValue) * Self.readyShare
  }

  // MARK: From the log

  /// Applies a configuration entry: to the member table and to Raft, or, when one of them refuses it,
  /// to neither.
  func apply(_ change: ConfChange) {
    guard let membership = change.context.withUnsafeBytes({ MembershipChange($0) }) else {
      // Raft's own end of a joint configuration; anything else is no change that we know.
      if change.leavesJoint { take(change) }
      return
    }
    guard !change.entersJoint, change.changes == [membership.raftChange] else { return }
    let handle = change.context.withUnsafeBytes {
      InternalRequest($0, epoch: configuration.epoch).handle
    }
    desk.forwarded.noteApplied(handle)
    var (table, state) = (members, confState)
    var failure: RequestError?
    do throws(RequestError) {
      try membership.make(in: &table, &state)
      take(change)
      members = table
    } catch {
      failure = error
    }
    reply(to: handle) { (reply: inout ByteWriter) throws(RequestError) in
      if let failure { throw failure }
      encodeAnswer(to: membership, into: &reply)
    }
  }

  private func take(_ change: ConfChange) {
    confState = raft.applyConfChange(change)
    applied.confState = confState
  }

  private func encodeAnswer(to change: MembershipChange, into reply: inout ByteWriter) {
    var header = Etcdserverpb.ResponseHeader()
    header.clusterID = members.clusterID.rawValue
    header.memberID = configuration.memberID.rawValue
    header.raftTerm = raft.term.rawValue
    let list = members.members.map { Etcdserverpb.Member($0) }
    switch change.kind {
    case .add:
      let added = members[change.memberID].map { Etcdserverpb.Member($0) }
      Etcdserverpb.MemberAddResponse(header: header, member: added, members: list)
        .encode(into: &reply)
    case .remove:
      Etcdserverpb.MemberRemoveResponse(header: header, members: list).encode(into: &reply)
    case .update:
      Etcdserverpb.MemberUpdateResponse(header: header, members: list).encode(into: &reply)
    case .promote:
      Etcdserverpb.MemberPromoteResponse(header: header, members: list).encode(into: &reply)
    }
  }

  func applyAttributes(_ request: InternalRequest) {
    guard
      let message = try? Membershippb.ClusterMemberAttrSetRequest(decoding: request.request),
      let attributes = message.memberAttributes
    else { return }
    // An unknown or removed member publishing itself changes nothing.
    try? members.setAttributes(
      MemberID(message.memberID),
      name: attributes.name,
      clientURLs: attributes.clientURLs
    )
  }

  func applyClusterVersion(_ request: InternalRequest) {
    guard let message = try? Membershippb.ClusterVersionSetRequest(decoding: request.request),
      message.ver != members.clusterVersion
    else { return }
    members.setClusterVersion(message.ver)
  }

  // MARK: By itself

  /// Whether the log says that this member was removed. Its owner stops it, once others had time to
  /// hear of the change: see `ticksSinceRemoval`.
  package var isRemoved: Bool { members.isRemoved(configuration.memberID) }

  /// What is due after every turn.
  func keepMembers() {
    publishIfDue()
    guard !waitingChanges.isEmpty, !raft.isConfigurationPending else { return }
    let waiting = waitingChanges
    waitingChanges = []
    for request in waiting { propose(membership: request) }
  }

  /// What is due after every tick.
  func tickMembers() {
    if publishPauseTicks > 0 { publishPauseTicks -= 1 }
    if upkeepPauseTicks > 0 { upkeepPauseTicks -= 1 }
    if isRemoved { ticksSinceRemoval += 1 }
    guard status.role == .leader, upkeepPauseTicks == 0 else { return }
    if !agreedVersion.isEmpty, agreedVersion != members.clusterVersion {
      upkeepPauseTicks = configuration.raft.electionTimeoutTicks
      let message = Membershippb.ClusterVersionSetRequest(ver: agreedVersion)
      propose(.clusterVersionSet, message.encoded())
    }
    if configuration.promotesLearners, !raft.isConfigurationPending { promoteLearner() }
  }

  /// Tells the cluster this member's name and where clients reach it, until it knows.
  private func publishIfDue() {
    guard publishedVersion != membersVersion, publishPauseTicks == 0, status.leader != .none,
      let known = members[configuration.memberID]
    else { return }
    if known.name == configuration.name && known.clientURLs == configuration.clientURLs {
      publishedVersion = membersVersion
      return
    }
    var attributes = Membershippb.Attributes()
    attributes.name = configuration.name
    attributes.clientURLs = configuration.clientURLs
    var message = Membershippb.ClusterMemberAttrSetRequest()
    message.memberID = configuration.memberID.rawValue
    message.memberAttributes = attributes
    if propose(.clusterMemberAttributes, message.encoded()) {
      // Forwarded, it may be lost with a leader.
      publishPauseTicks = 2 * configuration.raft.electionTimeoutTicks
    }
  }

  private func promoteLearner() {
    for learner in members.learners where learner.isStarted {
      guard let progress = progress(of: learner.id), progress.isRecentlyActive,
        progress.state == .replicate, isReady(progress),
        progress.match + Self.promotionLagEntriesMax >= raft.commit,
        members.allowsPromoting(learner.id)
      else { continue }
      upkeepPauseTicks = configuration.raft.electionTimeoutTicks
      _ = try? raft.propose(MembershipChange(.promote, learner.id).confChange)
      return
    }
  }

  @discardableResult
  private func propose(_ operation: ReplicatedOperation, _ request: [UInt8]) -> Bool {
    var batch = ProposalBatch(epoch: configuration.epoch, capacity: 256)
    request.withUnsafeBytes { batch.append(operation, handle: .none, request: $0) }
    do throws(ProposeError) {
      // Nil when it was sent on to the leader: that counts too.
      try raft.propose(ProposalBatch.requests(in: batch.take()))
      return true
    } catch {
      return false
    }
  }
}

extension Etcdserverpb.Member {
  /// The member as clients see it.
  package init(_ member: Member) {
    self.init()
    id = member.id.rawValue
    name = member.name
    peerURLs = member.peerURLs
    clientURLs = member.clientURLs
    isLearner = member.isLearner
  }
}

import Proto
import RPC

/// The members of the cluster.
public struct Cluster: Sendable {
  var scope: CallScope

  /// The same with another time for each call; see `ClientConfiguration.deadline`.
  public func withDeadline(_ deadline: Duration?) -> Cluster {
    var copy = self
    copy.scope.deadline = deadline
    return copy
  }

  /// A member.
  public struct Member: Hashable, Sendable {
    public var id: MemberID
    /// Empty until the member has started for the first time.
    public var name: String
    public var peerURLs: [String]
    public var clientURLs: [String]
    /// It follows the others, and does not vote yet.
    public var isLearner: Bool

    init(_ wire: Etcdserverpb.Member) {
      id = MemberID(rawValue: wire.id)
      name = wire.name
      peerURLs = wire.peerURLs
      clientURLs = wire.clientURLs
      isLearner = wire.isLearner
    }
  }

  public struct MemberList: Hashable, Sendable {
    public var header: ResponseHeader
    public var members: [Member]

    init(_ header: Etcdserverpb.ResponseHeader?, _ members: [Etcdserverpb.Member]) {
      self.header = ResponseHeader(header)
      self.members = members.map { Member($0) }
    }
  }

  /// All members.
  ///
  /// `isLinearizable`: false for what the asked member knows.
  public func members(isLinearizable: Bool = true) async throws(ClientError) -> MemberList {
    let request = Etcdserverpb.MemberListRequest(linearizable: isLinearizable)
    let response = try await scope.call("Cluster/MemberList", .read) {
      attempt async throws(RPCError) in
      try await ClusterClient(attempt.client).memberList(request, options: attempt.options)
    }
    return MemberList(response.header, response.members)
  }

  /// Adds a member, which is to be started with these peer URLs; a learner does not vote until it is
  /// promoted. Returns the new member, and all members.
  @discardableResult
  public func add(
    peerURLs: [String],
    isLearner: Bool = false
  ) async throws(ClientError) -> (member: Member, list: MemberList) {
    let request = Etcdserverpb.MemberAddRequest(peerURLs: peerURLs, isLearner: isLearner)
    let response = try await scope.call("Cluster/MemberAdd", .write) {
      attempt async throws(RPCError) in
      try await ClusterClient(attempt.client).memberAdd(request, options: attempt.options)
    }
    guard let member = response.member else { throw .malformed("the answer names no member") }
    return (Member(member), MemberList(response.header, response.members))
  }

  /// Removes a member for good.
  @discardableResult
  public func remove(_ id: MemberID) async throws(ClientError) -> MemberList {
    let request = Etcdserverpb.MemberRemoveRequest(id: id.rawValue)
    let response = try await scope.call("Cluster/MemberRemove", .write) {
      attempt async throws(RPCError) in
      try await ClusterClient(attempt.client).memberRemove(request, options: attempt.options)
    }
    return MemberList(response.header, response.members)
  }

  /// Sets where the others reach a member.
  @discardableResult
  public func update(
    _ id: MemberID,
    peerURLs: [String]
  ) async throws(ClientError) -> MemberList {
    let request = Etcdserverpb.MemberUpdateRequest(id: id.rawValue, peerURLs: peerURLs)
    let response = try await scope.call("Cluster/MemberUpdate", .write) {
      attempt async throws(RPCError) in
      try await ClusterClient(attempt.client).memberUpdate(request, options: attempt.options)
    }
    return MemberList(response.header, response.members)
  }

  /// Makes a learner a member that votes; throws `learnerIsNotReady` while it lags.
  @discardableResult
  public func promote(_ id: MemberID) async throws(ClientError) -> MemberList {
    let request = Etcdserverpb.MemberPromoteRequest(id: id.rawValue)
    let response = try await scope.call("Cluster/MemberPromote", .write) {
      attempt async throws(RPCError) in
      try await ClusterClient(attempt.client).memberPromote(request, options: attempt.options)
    }
    return MemberList(response.header, response.members)
  }
}

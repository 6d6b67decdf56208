import Proto
import RPC

/// What operators do with members. Calls that take an endpoint ask that one, which must be one of
/// `Client.endpoints`; with nil they ask any.
public struct Maintenance: Sendable {
  var scope: CallScope

  /// The same with another time for each call; see `ClientConfiguration.deadline`.
  public func withDeadline(_ deadline: Duration?) -> Maintenance {
    var copy = self
    copy.scope.deadline = deadline
    return copy
  }

  /// How a member is.
  public struct Status: Hashable, Sendable {
    public var header: ResponseHeader
    /// The server's version.
    public var version: String
    /// What the member takes for the leader; `.none` for no leader.
    public var leader: MemberID
    public var raftTerm: UInt64
    public var raftIndex: UInt64
    public var raftAppliedIndex: UInt64
    /// The size of the database, what of it is in use, and its bound, in bytes; 0 where the server is
    /// too old to tell.
    public var databaseBytes: Int64
    public var databaseBytesInUse: Int64
    public var databaseBytesMax: Int64
    public var isLearner: Bool
    public var storageVersion: String
    /// What is wrong, such as alarms.
    public var errors: [String]

    init(_ wire: Etcdserverpb.StatusResponse) {
      header = ResponseHeader(wire.header)
      version = wire.version
      leader = MemberID(rawValue: wire.leader)
      raftTerm = wire.raftTerm
      raftIndex = wire.raftIndex
      raftAppliedIndex = wire.raftAppliedIndex
      databaseBytes = wire.dbSize
      databaseBytesInUse = wire.dbSizeInUse
      databaseBytesMax = wire.dbSizeQuota
      isLearner = wire.isLearner
      storageVersion = wire.storageVersion
      errors = wire.errors
    }
  }

  public func status(of endpoint: String? = nil) async throws(ClientError) -> Status {
    let response = try await scope.call("Maintenance/Status", .read, at: endpoint) {
      attempt async throws(RPCError) in
      let request = Etcdserverpb.StatusRequest()
      return try await MaintenanceClient(attempt.client).status(request, options: attempt.options)
    }
    return Status(response)
  }

  // MARK: Alarms

  /// A state in which the cluster refuses some or all requests, until somebody disarms it.
  public struct Alarm: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
      /// A member's database is full: writes are refused.
      case noSpace
      /// Members' data differ: everything is refused.
      case corrupt
      /// One that is not known here, by its number.
      case other(Int32)

      init(_ wire: Etcdserverpb.AlarmType) {
        self =
          switch wire {
          case .nospace: .noSpace
          case .corrupt: .corrupt
          default: .other(wire.rawValue)
          }
      }

      var wire: Etcdserverpb.AlarmType {
        switch self {
        case .noSpace: .nospace
        case .corrupt: .corrupt
        case .other(let number): Etcdserverpb.AlarmType(rawValue: number)
        }
      }
    }

    public var member: MemberID
    public var kind: Kind

    public init(member: MemberID, kind: Kind) {
      self.member = member
      self.kind = kind
    }
  }

  /// The alarms that are raised.
  public func alarms() async throws(ClientError) -> [Alarm] {
    try await alarm(.get, nil, .read)
  }

  /// Raises an alarm, as members do by themselves.
  public func raise(_ alarm: Alarm) async throws(ClientError) {
    _ = try await self.alarm(.activate, alarm, .write)
  }

  /// Takes an alarm back. Returns those that were.
  @discardableResult
  public func disarm(_ alarm: Alarm) async throws(ClientError) -> [Alarm] {
    try await self.alarm(.deactivate, alarm, .write)
  }

  private func alarm(
    _ action: Etcdserverpb.AlarmRequest.AlarmAction,
    _ alarm: Alarm?,
    _ effect: Effect
  ) async throws(ClientError) -> [Alarm] {
    let request = Etcdserverpb.AlarmRequest(
      action: action,
      memberID: alarm?.member.rawValue ?? 0,
      alarm: alarm?.kind.wire ?? .none
    )
    let response = try await scope.call("Maintenance/Alarm", effect) {
      attempt async throws(RPCError) in
      try await MaintenanceClient(attempt.client).alarm(request, options: attempt.options)
    }
    return response.alarms.map {
      Alarm(member: MemberID(rawValue: $0.memberID), kind: Alarm.Kind($0.alarm))
    }
  }

  // MARK: The database

  /// Gives what the database has freed back to the file system. The member answers nobody meanwhile.
  public func defragment(_ endpoint: String? = nil) async throws(ClientError) {
    _ = try await scope.call("Maintenance/Defragment", .write, at: endpoint) {
      attempt async throws(RPCError) in
      let request = Etcdserverpb.DefragmentRequest()
      return try await MaintenanceClient(attempt.client).defragment(
        request,
        options: attempt.options
      )
    }
  }

  /// A checksum of a member's keys with their history.
  public struct KeyHash: Hashable, Sendable {
    public var header: ResponseHeader
    public var hash: UInt32
    /// What the hash covers: the revisions after the compacted one, up to `revision` (0 where the
    /// server is too old to tell).
    public var compactRevision: Int64
    public var revision: Int64
  }

  /// The checksum of the keys up to `revision`; 0 for the newest. Equal on all members.
  public func hash(
    to revision: Int64 = 0,
    of endpoint: String? = nil
  ) async throws(ClientError) -> KeyHash {
    let request = Etcdserverpb.HashKVRequest(revision: revision)
    let response = try await scope.call("Maintenance/HashKV", .read, at: endpoint) {
      attempt async throws(RPCError) in
      try await MaintenanceClient(attempt.client).hashKV(request, options: attempt.options)
    }
    return KeyHash(
      header: ResponseHeader(response.header),
      hash: response.hash,
      compactRevision: response.compactRevision,
      revision: response.hashRevision
    )
  }

  /// The database, byte by byte, as `etcdutl snapshot restore` and `martletutl` take it.
  public func snapshot(of endpoint: String? = nil) -> Snapshot {
    Snapshot(scope: scope, endpoint: endpoint)
  }

  // MARK: The cluster

  /// Makes another member the leader. Asks the leader, whichever it is, when no endpoint is given.
  public func moveLeader(
    to target: MemberID,
    asking endpoint: String? = nil
  ) async throws(ClientError) {
    let request = Etcdserverpb.MoveLeaderRequest(targetID: target.rawValue)
    let candidates: [String?] = endpoint.map { [$0] } ?? scope.caller.endpoints.names
    var failure = ClientError.closed
    for candidate in candidates {
      do throws(ClientError) {
        _ = try await scope.call("Maintenance/MoveLeader", .write, at: candidate) {
          attempt async throws(RPCError) in
          try await MaintenanceClient(attempt.client).moveLeader(request, options: attempt.options)
        }
        return
      } catch {
        failure = error
        guard error.code == .notLeader else { throw error }
      }
    }
    throw failure
  }

  /// Steps of going back to an older release of the server.
  public enum DowngradeStep: Hashable, Sendable {
    /// Only asks whether it could be done.
    case validate(version: String)
    case enable(version: String)
    case cancel
  }

  /// Takes a step of a downgrade. Returns the cluster's version.
  @discardableResult
  public func downgrade(_ step: DowngradeStep) async throws(ClientError) -> String {
    var request = Etcdserverpb.DowngradeRequest()
    switch step {
    case .validate(let version):
      request.action = .validate
      request.version = version
    case .enable(let version):
      request.action = .enable
      request.version = version
    case .cancel:
      request.action = .cancel
    }
    let sent = request
    return try await scope.call("Maintenance/Downgrade", .write) { attempt async throws(RPCError) in
      try await MaintenanceClient(attempt.client).downgrade(sent, options: attempt.options)
    }.version
  }
}

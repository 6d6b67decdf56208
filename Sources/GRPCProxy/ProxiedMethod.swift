import RPC

/// A method of the API, and what the proxy does with its calls beside passing them on.
struct ProxiedMethod: Sendable {
  enum Kind: Hashable, Sendable {
    case plain
    case range, rangeStream, put, deleteRange, txn, compact
    case watch
    case timeToLive, keepAlive
    case memberList
    case lock, unlock
    case campaign, proclaim, leader, observe, resign
  }

  let info: MethodInfo
  let kind: Kind

  /// All methods that the proxy serves.
  static let all: [ProxiedMethod] = infos.map { info in
    ProxiedMethod(info: info, kind: kinds[info.path] ?? .plain)
  }

  static let infos: [MethodInfo] =
    KVDispatcher.methods + WatchDispatcher.methods + LeaseDispatcher.methods
    + ClusterDispatcher.methods + MaintenanceDispatcher.methods + AuthDispatcher.methods
    + ElectionDispatcher.methods + LockDispatcher.methods

  private static let kinds: [String: Kind] = [
    "/etcdserverpb.KV/Range": .range,
    "/etcdserverpb.KV/RangeStream": .rangeStream,
    "/etcdserverpb.KV/Put": .put,
    "/etcdserverpb.KV/DeleteRange": .deleteRange,
    "/etcdserverpb.KV/Txn": .txn,
    "/etcdserverpb.KV/Compact": .compact,
    "/etcdserverpb.Watch/Watch": .watch,
    "/etcdserverpb.Lease/LeaseTimeToLive": .timeToLive,
    "/etcdserverpb.Lease/LeaseKeepAlive": .keepAlive,
    "/etcdserverpb.Cluster/MemberList": .memberList,
    "/v3lockpb.Lock/Lock": .lock,
    "/v3lockpb.Lock/Unlock": .unlock,
    "/v3electionpb.Election/Campaign": .campaign,
    "/v3electionpb.Election/Proclaim": .proclaim,
    "/v3electionpb.Election/Leader": .leader,
    "/v3electionpb.Election/Observe": .observe,
    "/v3electionpb.Election/Resign": .resign,
  ]
}

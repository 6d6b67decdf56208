/// What a call needs, by its method, when authentication is on: asked before its service hears of
/// it. What more a service checks, the keys of a request above all, it checks itself.
enum MethodAccess {
  /// A call may come from anybody.
  case anybody
  /// A call needs a user, whoever it is.
  case user
  /// A call about users or roles needs a user, and says so when there is none of the caller's name.
  case account
  /// A call needs a user with the role root.
  case root

  /// The need of a method. What is not in the table needs root.
  init(path: String) {
    if Self.openPrefixes.contains(where: { path.hasPrefix($0) }) {
      self = .anybody
      return
    }
    self = Self.table[path] ?? .root
  }

  private static let openPrefixes = ["/grpc.health.", "/grpc.reflection."]

  private static let table: [String: MethodAccess] = [
    "/etcdserverpb.KV/Range": .user,
    "/etcdserverpb.KV/RangeStream": .user,
    "/etcdserverpb.KV/Put": .user,
    "/etcdserverpb.KV/DeleteRange": .user,
    "/etcdserverpb.KV/Txn": .user,
    "/etcdserverpb.KV/Compact": .user,
    // Each watch is admitted by itself, and refused in the stream.
    "/etcdserverpb.Watch/Watch": .anybody,
    "/etcdserverpb.Lease/LeaseGrant": .user,
    "/etcdserverpb.Lease/LeaseRevoke": .user,
    "/etcdserverpb.Lease/LeaseKeepAlive": .user,
    "/etcdserverpb.Lease/LeaseTimeToLive": .user,
    "/etcdserverpb.Lease/LeaseLeases": .user,
    "/etcdserverpb.Cluster/MemberList": .user,
    "/etcdserverpb.Maintenance/Status": .user,
    // To look is any user's; to raise or clear one is root's, checked where it is applied.
    "/etcdserverpb.Maintenance/Alarm": .user,
    "/etcdserverpb.Auth/Authenticate": .anybody,
    "/etcdserverpb.Auth/AuthStatus": .anybody,
    // Of oneself; of others, root's.
    "/etcdserverpb.Auth/UserGet": .account,
    "/etcdserverpb.Auth/RoleGet": .account,
    // They make calls of the services above, with the caller's token.
    "/v3lockpb.Lock/Lock": .user,
    "/v3lockpb.Lock/Unlock": .user,
    "/v3electionpb.Election/Campaign": .user,
    "/v3electionpb.Election/Proclaim": .user,
    "/v3electionpb.Election/Leader": .user,
    "/v3electionpb.Election/Observe": .user,
    "/v3electionpb.Election/Resign": .user,
  ]
}

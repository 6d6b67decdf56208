import Proto
import RPC

/// Users, roles and permissions.
public struct Auth: Sendable {
  var scope: CallScope

  /// The same with another time for each call; see `ClientConfiguration.deadline`.
  public func withDeadline(_ deadline: Duration?) -> Auth {
    var copy = self
    copy.scope.deadline = deadline
    return copy
  }

  private func call<Request: Message, Response: Message>(
    _ name: CallName,
    _ effect: Effect,
    _ method: (AuthClient) -> (Request, CallOptions) async throws(RPCError) -> Response,
    _ request: Request
  ) async throws(ClientError) -> Response {
    try await scope.call(name, effect) { attempt async throws(RPCError) in
      try await method(AuthClient(attempt.client))(request, attempt.options)
    }
  }

  // MARK: The whole

  public struct Status: Hashable, Sendable {
    public var header: ResponseHeader
    public var isEnabled: Bool
    /// Grows with every change of users, roles and permissions.
    public var authRevision: UInt64
  }

  public func status() async throws(ClientError) -> Status {
    let response = try await call(
      "Auth/AuthStatus",
      .read,
      AuthClient.authStatus,
      Etcdserverpb.AuthStatusRequest()
    )
    return Status(
      header: ResponseHeader(response.header),
      isEnabled: response.enabled,
      authRevision: response.authRevision
    )
  }

  /// From now on every call needs a user. There must be a user `root` with the role `root`.
  public func enable() async throws(ClientError) {
    _ = try await call(
      "Auth/AuthEnable",
      .write,
      AuthClient.authEnable,
      Etcdserverpb.AuthEnableRequest()
    )
  }

  public func disable() async throws(ClientError) {
    _ = try await call(
      "Auth/AuthDisable",
      .write,
      AuthClient.authDisable,
      Etcdserverpb.AuthDisableRequest()
    )
  }

  // MARK: Users

  /// Adds a user.
  ///
  /// `password`: nil for a user who is known by a certificate alone.
  public func addUser(_ name: String, password: String?) async throws(ClientError) {
    var request = Etcdserverpb.AuthUserAddRequest(name: name, password: password ?? "")
    if password == nil { request.options = Authpb.UserAddOptions(noPassword: true) }
    _ = try await call("Auth/UserAdd", .write, AuthClient.userAdd, request)
  }

  public func removeUser(_ name: String) async throws(ClientError) {
    let request = Etcdserverpb.AuthUserDeleteRequest(name: name)
    _ = try await call("Auth/UserDelete", .write, AuthClient.userDelete, request)
  }

  public func changePassword(
    of name: String,
    to password: String
  ) async throws(ClientError) {
    let request = Etcdserverpb.AuthUserChangePasswordRequest(name: name, password: password)
    _ = try await call("Auth/UserChangePassword", .write, AuthClient.userChangePassword, request)
  }

  public func users() async throws(ClientError) -> [String] {
    try await call("Auth/UserList", .read, AuthClient.userList, Etcdserverpb.AuthUserListRequest())
      .users
  }

  /// The roles of a user.
  public func roles(of user: String) async throws(ClientError) -> [String] {
    let request = Etcdserverpb.AuthUserGetRequest(name: user)
    return try await call("Auth/UserGet", .read, AuthClient.userGet, request).roles
  }

  public func grantRole(_ role: String, to user: String) async throws(ClientError) {
    let request = Etcdserverpb.AuthUserGrantRoleRequest(user: user, role: role)
    _ = try await call("Auth/UserGrantRole", .write, AuthClient.userGrantRole, request)
  }

  public func revokeRole(_ role: String, from user: String) async throws(ClientError) {
    let request = Etcdserverpb.AuthUserRevokeRoleRequest(name: user, role: role)
    _ = try await call("Auth/UserRevokeRole", .write, AuthClient.userRevokeRole, request)
  }

  // MARK: Roles

  public func addRole(_ name: String) async throws(ClientError) {
    _ = try await call(
      "Auth/RoleAdd",
      .write,
      AuthClient.roleAdd,
      Etcdserverpb.AuthRoleAddRequest(name: name)
    )
  }

  public func removeRole(_ name: String) async throws(ClientError) {
    let request = Etcdserverpb.AuthRoleDeleteRequest(role: name)
    _ = try await call("Auth/RoleDelete", .write, AuthClient.roleDelete, request)
  }

  public func roles() async throws(ClientError) -> [String] {
    try await call("Auth/RoleList", .read, AuthClient.roleList, Etcdserverpb.AuthRoleListRequest())
      .roles
  }

  /// What a role may do with a range of keys.
  public struct Permission: Hashable, Sendable {
    public enum Access: Hashable, Sendable {
      case read, write, readWrite
    }

    public var access: Access
    public var range: KeyRange

    public init(_ access: Access, _ range: KeyRange) {
      self.access = access
      self.range = range
    }
  }

  public func permissions(of role: String) async throws(ClientError) -> [Permission] {
    let request = Etcdserverpb.AuthRoleGetRequest(role: role)
    let response = try await call("Auth/RoleGet", .read, AuthClient.roleGet, request)
    return response.perm.map { wire in
      let access: Permission.Access =
        switch wire.permType {
        case .write: .write
        case .readwrite: .readWrite
        default: .read
        }
      return Permission(access, KeyRange(start: wire.key, end: wire.rangeEnd))
    }
  }

  /// Allows a role something, in place of what it was allowed with the same range before.
  public func grant(_ permission: Permission, to role: String) async throws(ClientError) {
    let kind: Authpb.Permission.Kind =
      switch permission.access {
      case .read: .read
      case .write: .write
      case .readWrite: .readwrite
      }
    let request = Etcdserverpb.AuthRoleGrantPermissionRequest(
      name: role,
      perm: Authpb.Permission(
        permType: kind,
        key: permission.range.start,
        rangeEnd: permission.range.end
      )
    )
    _ = try await call("Auth/RoleGrantPermission", .write, AuthClient.roleGrantPermission, request)
  }

  /// Takes back what a role is allowed with exactly this range.
  public func revoke(_ range: KeyRange, from role: String) async throws(ClientError) {
    let request = Etcdserverpb.AuthRoleRevokePermissionRequest(
      role: role,
      key: range.start,
      rangeEnd: range.end
    )
    _ = try await call(
      "Auth/RoleRevokePermission",
      .write,
      AuthClient.roleRevokePermission,
      request
    )
  }
}

import Auth
import Base
import Lease
import MVCC
import Proto

// What the log says about users and roles, and whether they may do what else it says.
extension ReplicaMachine {
  /// Throws when the proposer may not do this, as of this entry. What a member proposes by itself
  /// it may do.
  func authorize(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest
  ) throws(RequestError) {
    guard auth.isEnabled, !request.isFromMember else { return }
    do throws(AuthError) {
      try checkAccess(operation, request)
    } catch {
      throw RequestError(error)
    }
  }

  private func checkAccess(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest
  ) throws(AuthError) {
    let caller = Caller(name: AuthName(request.username), revision: request.authRevision)
    switch operation {
    case .put, .deleteRange, .txn, .leaseRevoke:
      let access = try access.access(of: caller)
      guard access.isRoot || permits(operation, request, access) else { throw .permissionDenied }
    case .compaction, .leaseGrant, .leaseCheckpoint:
      // A checkpoint comes of a renewal, which is any user's.
      _ = try access.managementAccess(of: caller)
    case .alarm:
      let alarm = try? Etcdserverpb.AlarmRequest(decoding: request.request)
      if alarm?.action == .get {
        _ = try access.managementAccess(of: caller)
      } else {
        try access.requireRoot(caller)
      }
    case .leaseUpkeep, .downgradeInfoSet, .clusterMemberAttributes, .clusterVersionSet:
      try access.requireRoot(caller)
    case .authenticate:
      // Nobody is known yet: the password was looked at.
      break
    case .authEnable, .authDisable, .authUserAdd, .authUserDelete, .authUserChangePassword,
      .authUserGrantRole, .authUserRevokeRole, .authRoleAdd, .authRoleDelete,
      .authRoleGrantPermission, .authRoleRevokePermission:
      // Not of the caller's revision: an administrator's own changes, one after the other without
      // a pause, must not shut each other out.
      try access.requireRoot(caller)
    }
  }

  /// Whether the keys that a request touches are the user's. One that cannot be decoded touches
  /// none, and is ignored when it is applied.
  private func permits(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest,
    _ access: UserAccess
  ) -> Bool {
    arena.reset()
    let bytes = request.request
    let leaseKeys: UserAccess.LeaseKeys = { [leases] lease, body in
      leases.forEachKey(of: lease, body)
    }
    switch operation {
    case .put:
      let put = try? Etcdserverpb.PutRequest.View(decoding: bytes, in: arena)
      return put.map { access.permits($0, leaseKeys) } ?? true
    case .deleteRange:
      let delete = try? Etcdserverpb.DeleteRangeRequest.View(decoding: bytes, in: arena)
      return delete.map { access.permits($0) } ?? true
    case .txn:
      let txn = try? Etcdserverpb.TxnRequest.View(decoding: bytes, in: arena)
      return txn.map { access.permits($0, leaseKeys) } ?? true
    case .leaseRevoke:
      let revoke = try? Etcdserverpb.LeaseRevokeRequest.View(decoding: bytes, in: arena)
      return revoke.map { access.permitsWriting(keysOf: LeaseID($0.id), leaseKeys) } ?? true
    default:
      return false
    }
  }

  func applyAuth(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest,
    header: ResponseHeader
  ) {
    var state = auth
    var failure: AuthError?
    do throws(AuthError) {
      try Self.change(&state, operation, request.request)
    } catch {
      failure = error
    }
    if failure == nil, state != auth {
      access.update(state)
      authVersion += 1
      authChanged(state)
    }
    // All of these answers have a header and nothing else.
    reply(to: request.handle) { (reply: inout ByteWriter) throws(RequestError) in
      if let failure { throw RequestError(failure) }
      header.write(revision: store.appliedRevision, into: &reply)
    }
  }

  /// Carries out a change that was checked. A request that cannot be decoded changes nothing, the
  /// same way on every member.
  private static func change(
    _ state: inout AuthState,
    _ operation: ReplicatedOperation,
    _ bytes: UnsafeRawBufferPointer
  ) throws(AuthError) {
    switch operation {
    case .authEnable:
      try state.enable()
    case .authDisable:
      state.disable()
    case .authUserAdd, .authUserDelete, .authUserChangePassword, .authUserGrantRole,
      .authUserRevokeRole:
      try changeUsers(&state, operation, bytes)
    default:
      try changeRoles(&state, operation, bytes)
    }
  }

  /// A log-in makes a token known to every member. The proposer is the user, with the revision of
  /// the credentials that were shown: they may have changed since.
  func applyLogIn(_ request: InternalRequest, header: ResponseHeader) {
    guard
      let message = try? Etcdserverpb.InternalAuthenticateRequest(decoding: request.request)
    else { return }
    let user = auth.user(AuthName(request.username))
    reply(to: request.handle) { (reply: inout ByteWriter) throws(RequestError) in
      guard auth.isEnabled else { throw .authNotEnabled }
      guard let user, user.credentialRevision == request.authRevision else {
        throw .authenticationFailed
      }
      let token = "\(message.simpleToken).\(applying.rawValue)"
      loggedIn(LogIn(user: user, token: token), auth.revision)
      header.write(revision: store.appliedRevision, into: &reply)
      Etcdserverpb.AuthenticateResponse(token: token).encode(into: &reply)
    }
  }

  private static func changeUsers(
    _ state: inout AuthState,
    _ operation: ReplicatedOperation,
    _ bytes: UnsafeRawBufferPointer
  ) throws(AuthError) {
    switch operation {
    case .authUserAdd:
      guard let add = try? Etcdserverpb.AuthUserAddRequest(decoding: bytes) else { return }
      try state.addUser(
        AuthName(add.name.utf8),
        passwordHash: PasswordField.hash(in: add.hashedPassword),
        hasNoPassword: add.options?.noPassword ?? false
      )
    case .authUserDelete:
      guard let delete = try? Etcdserverpb.AuthUserDeleteRequest(decoding: bytes) else { return }
      try state.deleteUser(AuthName(delete.name.utf8))
    case .authUserChangePassword:
      guard let change = try? Etcdserverpb.AuthUserChangePasswordRequest(decoding: bytes) else {
        return
      }
      try state.changePassword(
        AuthName(change.name.utf8),
        passwordHash: PasswordField.hash(in: change.hashedPassword)
      )
    case .authUserGrantRole:
      guard let grant = try? Etcdserverpb.AuthUserGrantRoleRequest(decoding: bytes) else { return }
      try state.grantRole(AuthName(grant.role.utf8), to: AuthName(grant.user.utf8))
    case .authUserRevokeRole:
      guard let revoke = try? Etcdserverpb.AuthUserRevokeRoleRequest(decoding: bytes) else {
        return
      }
      try state.revokeRole(AuthName(revoke.role.utf8), from: AuthName(revoke.name.utf8))
    default:
      preconditionFailure("\(operation) is not about users")
    }
  }

  private static func changeRoles(
    _ state: inout AuthState,
    _ operation: ReplicatedOperation,
    _ bytes: UnsafeRawBufferPointer
  ) throws(AuthError) {
    switch operation {
    case .authRoleAdd:
      guard let add = try? Etcdserverpb.AuthRoleAddRequest(decoding: bytes) else { return }
      try state.addRole(AuthName(add.name.utf8))
    case .authRoleDelete:
      guard let delete = try? Etcdserverpb.AuthRoleDeleteRequest(decoding: bytes) else { return }
      try state.deleteRole(AuthName(delete.role.utf8))
    case .authRoleGrantPermission:
      guard let grant = try? Etcdserverpb.AuthRoleGrantPermissionRequest(decoding: bytes) else {
        return
      }
      guard let permission = grant.perm else { throw .permissionNotGiven }
      try state.grant(try Permission(permission), to: AuthName(grant.name.utf8))
    case .authRoleRevokePermission:
      guard let revoke = try? Etcdserverpb.AuthRoleRevokePermissionRequest(decoding: bytes) else {
        return
      }
      try state.revoke(
        key: revoke.key,
        rangeEnd: revoke.rangeEnd,
        from: AuthName(revoke.role.utf8)
      )
    default:
      preconditionFailure("\(operation) is not about roles")
    }
  }
}

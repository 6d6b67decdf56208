/// A state with what its users may do, worked out when it is first asked for. Confined to one
/// thread.
package struct AccessChecker {
  package private(set) var state: AuthState
  /// By users of `state`, so no larger than it.
  private var cache: [AuthName: UserAccess] = [:]

  package init(_ state: AuthState) {
    self.state = state
  }

  /// Goes on with another state.
  package mutating func update(_ new: AuthState) {
    if new.revision != state.revision { cache.removeAll() }
    state = new
  }

  /// What a caller may do. Throws `.userEmpty` for nobody, `.oldRevision` when users or roles have
  /// changed since the caller was established, `.permissionDenied` when there is no such user.
  package mutating func access(of caller: Caller) throws(AuthError) -> UserAccess {
    if caller.name.isEmpty { throw .userEmpty }
    if caller.revision != state.revision { throw .oldRevision }
    return try access(ofUser: caller.name)
  }

  /// What a caller may do where no keys are looked at: later changes of users and roles do not
  /// matter, so that an administrator's own, one after the other, do not shut each other out. A
  /// caller who was established before the user got the present password, or before authentication
  /// was last turned off, is one of the past all the same.
  package mutating func managementAccess(of caller: Caller) throws(AuthError) -> UserAccess {
    let access = try access(ofUser: caller.name)
    guard let user = state.user(caller.name),
      caller.revision >= user.credentialRevision, caller.revision >= state.disableRevision
    else { throw .oldRevision }
    return access
  }

  /// The same by name alone. Throws `.userEmpty` or `.permissionDenied`.
  package mutating func access(ofUser name: AuthName) throws(AuthError) -> UserAccess {
    if name.isEmpty { throw .userEmpty }
    if let known = cache[name] { return known }
    guard let user = state.user(name) else { throw .permissionDenied }
    let access = UserAccess(user, in: state)
    cache[name] = access
    return access
  }

  /// `managementAccess` where users and roles are dealt with: throws `.userNotFound` for a user who
  /// does not exist, as a certificate may name.
  package mutating func accountAccess(of caller: Caller) throws(AuthError) -> UserAccess {
    if !caller.name.isEmpty, state.user(caller.name) == nil { throw .userNotFound }
    return try managementAccess(of: caller)
  }

  /// Throws, as `accountAccess` does or `.permissionDenied`, unless the user may do everything.
  package mutating func requireRoot(_ caller: Caller) throws(AuthError) {
    guard try accountAccess(of: caller).isRoot else { throw .permissionDenied }
  }
}

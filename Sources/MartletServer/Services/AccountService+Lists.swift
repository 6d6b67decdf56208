import Auth
import Base
import MVCC
import Proto
import RPC
import Replica

// What the Auth service tells of users and roles. Lists are sorted by name, as the state is.
extension AccountService {
  func userGet(
    _ request: IncomingMessage<Etcdserverpb.AuthUserGetRequest.View>,
    _ call: ServerCall
  ) {
    let name = AuthName(request.view.name)
    whenCurrent(call) { [self] call in
      answer(call) { (state, caller) throws(RequestError) in
        // One may look at oneself; at others root may.
        if let caller, !caller.isRoot, caller.name != name { throw .permissionDenied }
        guard let user = state.user(name) else { throw .userNotFound }
        var response = Etcdserverpb.AuthUserGetResponse()
        response.header = shared.responseHeader
        response.roles = user.roles.map { String(decoding: $0, as: UTF8.self) }
        return response
      }
    }
  }

  func userList(
    _ request: IncomingMessage<Etcdserverpb.AuthUserListRequest.View>,
    _ call: ServerCall
  ) {
    whenCurrent(call) { [self] call in
      answer(call) { (state, caller) throws(RequestError) in
        if let caller, !caller.isRoot { throw .permissionDenied }
        var response = Etcdserverpb.AuthUserListResponse()
        response.header = shared.responseHeader
        response.users = state.users.map { String(decoding: $0.name, as: UTF8.self) }
        return response
      }
    }
  }

  func roleGet(
    _ request: IncomingMessage<Etcdserverpb.AuthRoleGetRequest.View>,
    _ call: ServerCall
  ) {
    let name = AuthName(request.view.role)
    whenCurrent(call) { [self] call in
      answer(call) { (state, caller) throws(RequestError) in
        // A role may be looked at by those who have it.
        if let caller, !caller.isRoot, !caller.roles.contains(name) { throw .permissionDenied }
        guard let role = state.role(name) else { throw .roleNotFound }
        var response = Etcdserverpb.AuthRoleGetResponse()
        response.header = shared.responseHeader
        response.perm =
          name == AuthState.root
          ? [Authpb.Permission(Permission(.readWrite, key: [], rangeEnd: [0]))]
          : role.permissions.map { Authpb.Permission($0) }
        return response
      }
    }
  }

  func roleList(
    _ request: IncomingMessage<Etcdserverpb.AuthRoleListRequest.View>,
    _ call: ServerCall
  ) {
    whenCurrent(call) { [self] call in
      answer(call) { (state, caller) throws(RequestError) in
        if let caller, !caller.isRoot { throw .permissionDenied }
        var response = Etcdserverpb.AuthRoleListResponse()
        response.header = shared.responseHeader
        response.roles = state.roles.map { String(decoding: $0.name, as: UTF8.self) }
        return response
      }
    }
  }

  /// Calls `body` on the event loop once the state at hand is that of now.
  func whenCurrent(_ call: ServerCall, _ body: @escaping @Sendable (ServerCall) -> Void) {
    if shared.status.readsAreLocal { return body(call) }
    loop.whenLinearizable(.onLoop(body), call)
  }

  /// Answers with what `body` makes of the state for a user, who is nil while authentication is
  /// off.
  private func answer<Response: Message>(
    _ call: ServerCall,
    _ body: (AuthState, AuthUser?) throws(RequestError) -> Response
  ) {
    do throws(RequestError) {
      let caller = try loop.callers.caller(of: call)
      let state = loop.callers.state
      let user = caller.flatMap { state.user($0.name) }
      if caller != nil && user == nil { throw .userNotFound }
      let response = try body(state, user)
      call.respond { response.encode(into: &$0) }
    } catch {
      call.finish(RPCStatus(error))
    }
  }
}

import Auth
import Base
import Logging
import MVCC
import NIOCore
import Proto
import RPC
import Replica

/// The Auth service of one event loop: users, roles, log-ins.
///
/// Passwords go no further than here: what is proposed holds their hashes, which `PasswordHasher`
/// makes on threads of its own. Whether the caller is root was asked before (`MethodAccess`), so
/// nobody else's request is hashed, and is asked again where the entry is applied.
final class AccountService: AuthService, @unchecked Sendable {
  // Sendable so that other threads can hand it back to its event loop; nothing is touched elsewhere.
  let loop: RequestLoop
  var shared: MemberContext { loop.shared }
  /// Log-ins and hashings under way; one whose call is taken back is not begun.
  private var jobs: [CallID: DropFlag] = [:]

  init(loop: RequestLoop) {
    self.loop = loop
  }

  func callCancelled(_ call: ServerCall) {
    jobs.removeValue(forKey: call.id)?.set()
    loop.callCancelled(call.id)
  }

  // MARK: Log-ins

  func authStatus(
    _ request: IncomingMessage<Etcdserverpb.AuthStatusRequest.View>,
    _ call: ServerCall
  ) {
    whenCurrent(call) { [self] call in
      let state = loop.callers.state
      var response = Etcdserverpb.AuthStatusResponse()
      response.header = shared.responseHeader
      response.enabled = state.isEnabled
      response.authRevision = state.revision
      call.respond { response.encode(into: &$0) }
    }
  }

  func authenticate(
    _ request: IncomingMessage<Etcdserverpb.AuthenticateRequest.View>,
    _ call: ServerCall
  ) {
    let name = AuthName(request.view.name)
    let password = [UInt8](request.view.password)
    whenCurrent(call) { [self] call in
      let state = loop.callers.state
      guard state.isEnabled else { return call.finish(RPCStatus(.authNotEnabled)) }
      let user = state.user(name)
      let shared = shared
      hashing(call) {
        guard shared.passwords.matches(password, user?.passwordHash), let user else {
          return { $0.finish(RPCStatus(.authenticationFailed)) }
        }
        return { [self] in assignToken(user, state, $0) }
      }
    }
  }

  private func assignToken(_ user: AuthUser, _ state: AuthState, _ call: ServerCall) {
    if case .simple = shared.tokens, !shared.status.readsAreLocal {
      return proposeToken(user, call)
    }
    let (loop, shared, id) = (loop, shared, call.id)
    Task {
      do throws(SignedTokens.Failure) {
        var response = Etcdserverpb.AuthenticateResponse()
        response.token = try await shared.tokens.assign(user, in: state)
        response.header = shared.responseHeader
        let answer = response
        loop.withCall(id) { call in call.respond { answer.encode(into: &$0) } }
      } catch {
        shared.logger.error("no token was made", metadata: ["cause": "\(error)"])
        loop.finish(id, RPCStatus(.internal, "etcdserver: no token could be made"))
      }
    }
  }

  /// In a cluster of several every member has to know the token.
  private func proposeToken(_ user: AuthUser, _ call: ServerCall) {
    let request = Etcdserverpb.InternalAuthenticateRequest(
      name: String(decoding: user.name, as: UTF8.self),
      simpleToken: SimpleTokens.makeLetters()
    )
    let proposer = Proposer(username: request.name, authRevision: user.credentialRevision)
    request.encoded().withUnsafeBytes { loop.propose(.authenticate, $0, call, as: proposer) }
  }

  // MARK: Changes without a password

  func authEnable(
    _ request: IncomingMessage<Etcdserverpb.AuthEnableRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authEnable, request.bytes, call)
  }

  func authDisable(
    _ request: IncomingMessage<Etcdserverpb.AuthDisableRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authDisable, request.bytes, call)
  }

  func userDelete(
    _ request: IncomingMessage<Etcdserverpb.AuthUserDeleteRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authUserDelete, request.bytes, call)
  }

  func userGrantRole(
    _ request: IncomingMessage<Etcdserverpb.AuthUserGrantRoleRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authUserGrantRole, request.bytes, call)
  }

  func userRevokeRole(
    _ request: IncomingMessage<Etcdserverpb.AuthUserRevokeRoleRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authUserRevokeRole, request.bytes, call)
  }

  func roleAdd(
    _ request: IncomingMessage<Etcdserverpb.AuthRoleAddRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authRoleAdd, request.bytes, call)
  }

  func roleDelete(
    _ request: IncomingMessage<Etcdserverpb.AuthRoleDeleteRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authRoleDelete, request.bytes, call)
  }

  func roleGrantPermission(
    _ request: IncomingMessage<Etcdserverpb.AuthRoleGrantPermissionRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authRoleGrantPermission, request.bytes, call)
  }

  func roleRevokePermission(
    _ request: IncomingMessage<Etcdserverpb.AuthRoleRevokePermissionRequest.View>,
    _ call: ServerCall
  ) {
    propose(.authRoleRevokePermission, request.bytes, call)
  }

  private func propose(
    _ operation: ReplicatedOperation,
    _ bytes: UnsafeRawBufferPointer,
    _ call: ServerCall
  ) {
    guard bytes.count <= shared.settings.requestBytesMax else {
      return call.finish(RPCStatus(.requestTooLarge))
    }
    loop.propose(operation, bytes, call)
  }

  // MARK: Changes with a password

  func userAdd(
    _ request: IncomingMessage<Etcdserverpb.AuthUserAddRequest.View>,
    _ call: ServerCall
  ) {
    var message = Etcdserverpb.AuthUserAddRequest()
    message.name = String(decoding: request.view.name, as: UTF8.self)
    if message.name.isEmpty { return call.finish(RPCStatus(.userEmpty)) }
    if request.view.options?.noPassword == true {
      message.options = Authpb.UserAddOptions(noPassword: true)
      return message.encoded().withUnsafeBytes { propose(.authUserAdd, $0, call) }
    }
    proposeHashed(.authUserAdd, [UInt8](request.view.password), call) { [message] hash in
      var message = message
      message.hashedPassword = hash
      return message.encoded()
    }
  }

  func userChangePassword(
    _ request: IncomingMessage<Etcdserverpb.AuthUserChangePasswordRequest.View>,
    _ call: ServerCall
  ) {
    let name = String(decoding: request.view.name, as: UTF8.self)
    proposeHashed(.authUserChangePassword, [UInt8](request.view.password), call) { hash in
      var message = Etcdserverpb.AuthUserChangePasswordRequest()
      message.name = name
      message.hashedPassword = hash
      return message.encoded()
    }
  }

  /// Proposes what `encode` makes of the password's hash.
  private func proposeHashed(
    _ operation: ReplicatedOperation,
    _ password: [UInt8],
    _ call: ServerCall,
    _ encode: @escaping @Sendable (_ hash: String) -> [UInt8]
  ) {
    guard !password.contains(0) else {
      return call.finish(.invalidArgument("etcdserver: a password cannot hold a zero byte"))
    }
    let passwords = shared.passwords
    hashing(call) {
      guard let hash = passwords.hash(password) else {
        return { $0.finish(RPCStatus(.internal, "etcdserver: the password was not hashed")) }
      }
      let bytes = encode(PasswordField.text(of: hash))
      return { [self] call in bytes.withUnsafeBytes { propose(operation, $0, call) } }
    }
  }

  /// Runs `work` on a hashing thread, and what it returns with the call on the event loop.
  private func hashing(
    _ call: ServerCall,
    _ work: @escaping @Sendable () -> @Sendable (ServerCall) -> Void
  ) {
    let id = call.id
    let isDropped = DropFlag()
    jobs[id] = isDropped
    let submitted = shared.passwords.submit { [self] in
      if isDropped.isSet { return }
      let answer = work()
      loop.eventLoop.execute {
        self.jobs[id] = nil
        if let call = self.loop.calls.call(id) { answer(call) }
        self.loop.calls.flush()
      }
    }
    if !submitted {
      jobs[id] = nil
      call.finish(RPCStatus(.tooManyRequests))
    }
  }
}

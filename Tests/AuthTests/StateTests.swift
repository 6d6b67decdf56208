import Auth
import Testing

/// What the log may do to users and roles, line by line as etcd 3.4 answers.
@Suite("Users and roles")
struct StateTests {
  @Test("to turn authentication on needs user root with role root")
  func enable() throws {
    var state = AuthState()
    #expect(failure { () throws(AuthError) in try state.enable() } == .rootUserNotExist)
    try state.add(user: "root")
    #expect(failure { () throws(AuthError) in try state.enable() } == .rootRoleNotExist)
    try state.grantRole(AuthState.root, to: AuthState.root)
    try state.enable()
    #expect(state.isEnabled)
  }

  @Test("the revision counts changes, and neither turning on nor what is done already")
  func revision() throws {
    var state = AuthState()
    #expect(state.revision == 1)
    try state.add(user: "root")
    #expect(state.revision == 2)
    try state.grantRole(AuthState.root, to: AuthState.root)
    #expect(state.revision == 3)
    try state.enable()
    #expect(state.revision == 3)
    try state.grantRole(AuthState.root, to: AuthState.root)
    #expect(state.revision == 3)
    try state.add(role: "a")
    #expect(state.revision == 4)
    state.disable()
    #expect(state.revision == 5)
    state.disable()
    #expect(state.revision == 5)
  }

  @Test("users: names are not empty and not given twice; an unknown one is not found")
  func users() throws {
    var state = AuthState()
    #expect(
      failure { () throws(AuthError) in
        try state.addUser([], passwordHash: [], hasNoPassword: true)
      } == .userEmpty
    )
    try state.add(user: "b")
    try state.add(user: "a")
    #expect(
      failure { () throws(AuthError) in
        try state.addUser(bytes("a"), passwordHash: [], hasNoPassword: true)
      } == .userAlreadyExists
    )
    #expect(state.users.map { text($0.name) } == ["a", "b"])
    let nobody = bytes("nobody")
    let before = state
    #expect(
      failure { () throws(AuthError) in try state.deleteUser(nobody) } == .userNotFound
    )
    #expect(
      failure { () throws(AuthError) in try state.changePassword(nobody, passwordHash: []) }
        == .userNotFound
    )
    #expect(
      failure { () throws(AuthError) in try state.grantRole(AuthState.root, to: nobody) }
        == .userNotFound
    )
    #expect(
      failure { () throws(AuthError) in try state.revokeRole(AuthState.root, from: nobody) }
        == .userNotFound
    )
    #expect(state == before, "what is refused changes nothing")
  }

  @Test("names that only look alike are two")
  func canonicalEquivalence() throws {
    var state = AuthState()
    try state.add(user: "caf\u{E9}")
    try state.add(user: "cafe\u{301}")
    #expect(state.users.count == 2)
  }

  @Test("roles: granted to users in order of name, taken from all with the role")
  func roles() throws {
    var state = AuthState()
    #expect(failure { () throws(AuthError) in try state.addRole([]) } == .roleEmpty)
    try state.add(role: "zz")
    try state.add(role: "aa")
    #expect(
      failure { () throws(AuthError) in try state.addRole(bytes("aa")) } == .roleAlreadyExists
    )
    try state.add(user: "u", roles: ["zz", "aa"])
    #expect(state.user(bytes("u"))?.roles.map(text) == ["aa", "zz"])
    #expect(
      failure { () throws(AuthError) in try state.grantRole(bytes("none"), to: bytes("u")) }
        == .roleNotFound
    )
    #expect(
      failure { () throws(AuthError) in try state.revokeRole(bytes("none"), from: bytes("u")) }
        == .roleNotGranted
    )
    #expect(
      failure { () throws(AuthError) in try state.deleteRole(bytes("none")) } == .roleNotFound
    )
    try state.deleteRole(bytes("aa"))
    #expect(state.user(bytes("u"))?.roles.map(text) == ["zz"])
  }

  @Test("permissions: by key, the same range once, none on no keys")
  func permissions() throws {
    var state = AuthState()
    try state.add(role: "r")
    let role = bytes("r")
    for permission in [
      Permission(.readWrite, "b", "c"), Permission(.read, "a"), Permission(.write, "b"),
      Permission(.read, "b", "c"), Permission(.read, "q", "\0"),
    ] { try state.grant(permission, to: role) }
    #expect(
      state.role(role)?.permissions == [
        Permission(.read, "a"), Permission(.read, "b", "c"), Permission(.write, "b"),
        Permission(.read, "q", "\0"),
      ]
    )
    for empty in [
      Permission(.read, ""), Permission(.read, "", "\0"), Permission(.read, "z", "y"),
      Permission(.read, "z", "z"),
    ] {
      #expect(
        failure { () throws(AuthError) in try state.grant(empty, to: role) } == .invalidManagement
      )
    }
    #expect(
      failure { () throws(AuthError) in
        try state.revoke(key: bytes("b"), rangeEnd: bytes("d"), from: role)
      } == .permissionNotGranted
    )
    try state.revoke(key: bytes("b"), rangeEnd: bytes("c"), from: role)
    #expect(state.role(role)?.permissions.count == 3)
    #expect(
      failure { () throws(AuthError) in
        try state.grant(Permission(.read, "a"), to: bytes("none"))
      } == .roleNotFound
    )
  }

  @Test("while authentication is on, root keeps its user, its role and the role of it")
  func rootStays() throws {
    var state = try AuthState.enabled()
    let root = AuthState.root
    try state.add(role: "root")
    #expect(failure { () throws(AuthError) in try state.deleteUser(root) } == .invalidManagement)
    #expect(failure { () throws(AuthError) in try state.deleteRole(root) } == .invalidManagement)
    #expect(
      failure { () throws(AuthError) in try state.revokeRole(root, from: root) }
        == .invalidManagement
    )
    state.disable()
    try state.revokeRole(root, from: root)
    try state.deleteUser(root)
  }

  @Test("a token is honoured until its user gets another password, is deleted, or auth goes off")
  func tokens() throws {
    var state = try AuthState.enabled()
    try state.add(user: "u")
    let user = bytes("u")
    let credential = try #require(state.user(user)).credentialRevision
    let givenAt = state.revision
    func isHonoured() -> Bool {
      state.honours(user, credentialRevision: credential, givenAt: givenAt)
    }
    #expect(isHonoured())
    try state.add(role: "r", [Permission(.read, "a")])
    try state.grantRole(bytes("r"), to: user)
    #expect(isHonoured(), "another role does not end a token")
    var other = state
    try other.changePassword(user, passwordHash: bytes("other"))
    #expect(!other.honours(user, credentialRevision: credential, givenAt: givenAt))
    other = state
    try other.deleteUser(user)
    #expect(!other.honours(user, credentialRevision: credential, givenAt: givenAt))
    try other.add(user: "u")
    #expect(!other.honours(user, credentialRevision: credential, givenAt: givenAt))
    state.disable()
    #expect(!isHonoured())
    try state.enable()
    #expect(!isHonoured(), "also when it is on again")
  }

  @Test("a user without a password does not get one by a change of it")
  func noPassword() throws {
    var state = AuthState()
    try state.addUser(bytes("u"), passwordHash: bytes("x"), hasNoPassword: true)
    #expect(state.user(bytes("u"))?.passwordHash == [])
    try state.changePassword(bytes("u"), passwordHash: bytes("y"))
    #expect(state.user(bytes("u"))?.passwordHash == [])
  }

  @Test("the durable form gives the same state, and damage is noticed")
  func encoding() throws {
    var state = try AuthState.enabled()
    try state.add(role: "r", [Permission(.read, "a", "b"), Permission(.write, "c")])
    try state.add(user: "u", roles: ["r"])
    try state.addUser(bytes("v"), passwordHash: [], hasNoPassword: true)
    let encoded = state.encoded()
    #expect(try AuthState(decoding: encoded) == state)
    #expect(try AuthState(decoding: AuthState().encoded()) == AuthState())
    // Cut off anywhere it is refused, or is an earlier part of the list, never a crash.
    for length in encoded.indices {
      let part = try? AuthState(decoding: Array(encoded.prefix(length)))
      #expect(part == nil || part != state)
    }
    #expect(throws: (any Error).self) { try AuthState(decoding: [0xFF]) }
  }
}

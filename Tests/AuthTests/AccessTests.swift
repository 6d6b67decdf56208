import Auth
import Testing

@Suite("Callers")
struct AccessTests {
  @Test("nobody, an old revision and an unknown user are refused, each in its way")
  func refusals() throws {
    var state = try AuthState.enabled()
    try state.add(user: "u")
    var checker = AccessChecker(state)
    let now = state.revision
    func error(_ caller: Caller) -> AuthError? {
      failure { () throws(AuthError) in _ = try checker.access(of: caller) }
    }
    #expect(error(.nobody) == .userEmpty)
    #expect(error(Caller(name: bytes("u"), revision: now - 1)) == .oldRevision)
    #expect(error(Caller(name: bytes("u"), revision: now + 1)) == .oldRevision)
    #expect(error(Caller(name: bytes("x"), revision: now)) == .permissionDenied)
    #expect(error(Caller(name: bytes("u"), revision: now)) == nil)
    func rootError(_ caller: Caller) -> AuthError? {
      failure { () throws(AuthError) in try checker.requireRoot(caller) }
    }
    #expect(rootError(.nobody) == .userEmpty)
    #expect(rootError(Caller(name: bytes("u"), revision: now)) == .permissionDenied)
    #expect(rootError(Caller(name: AuthState.root, revision: now)) == nil)
    #expect(rootError(Caller(name: AuthState.root, revision: now - 1)) == nil)
    // With a token of before its password, or of before authentication was turned off, not even root.
    try state.changePassword(AuthState.root, passwordHash: bytes("other"))
    checker.update(state)
    #expect(rootError(Caller(name: AuthState.root, revision: now)) == .oldRevision)
    let later = state.revision
    #expect(rootError(Caller(name: AuthState.root, revision: later)) == nil)
    state.disable()
    try state.enable()
    checker.update(state)
    #expect(rootError(Caller(name: AuthState.root, revision: later)) == .oldRevision)
  }

  @Test("what was worked out for a user is forgotten with the state that it came from")
  func update() throws {
    var state = try AuthState.enabled()
    try state.add(role: "r", [Permission(.readWrite, "a")])
    try state.add(user: "u", roles: ["r"])
    var checker = AccessChecker(state)
    func mayRead() throws -> Bool {
      let caller = Caller(name: bytes("u"), revision: checker.state.revision)
      let access = try checker.access(of: caller)
      return bytes("a").withUnsafeBytes { access.permitsReading($0) }
    }
    let before = try mayRead()
    try state.revoke(key: bytes("a"), rangeEnd: [], from: bytes("r"))
    checker.update(state)
    let after = try mayRead()
    #expect(before && !after)
  }
}

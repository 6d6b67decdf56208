import Auth
import Proto
import Testing

/// What another store had, taken over.
@Suite struct ForeignStateTests {
  private func user(_ name: String, _ roles: [String] = []) -> Authpb.User {
    Authpb.User(name: Array(name.utf8), password: Array("hash of \(name)".utf8), roles: roles)
  }

  private func role(_ name: String) -> Authpb.Role {
    Authpb.Role(
      name: Array(name.utf8),
      keyPermission: [Authpb.Permission(permType: .readwrite, key: [1], rangeEnd: [2])]
    )
  }

  @Test func everythingIsTakenOverInOrder() throws {
    let state = try AuthState(
      importing: [user("root", ["root"]), user("a", ["r2", "r1", "r2"])],
      roles: [role("r2"), role("r1")],
      isEnabled: true,
      revision: 7
    )
    #expect(state.isEnabled)
    #expect(state.revision == 7)
    #expect(state.users.map(\.name) == [Array("a".utf8), Array("root".utf8)])
    #expect(state.roles.map(\.name) == [Array("r1".utf8), Array("r2".utf8)])
    #expect(state.users[0].roles == [Array("r1".utf8), Array("r2".utf8)])
    #expect(state.users[0].passwordHash == Array("hash of a".utf8))
    #expect(state.users[1].isRoot)
    #expect(try AuthState(decoding: state.encoded()) == state)
    // Tokens of the other store count for nothing.
    let name = state.users[0].name
    #expect(!state.honours(name, credentialRevision: 6, givenAt: 6))
    #expect(state.honours(name, credentialRevision: 7, givenAt: 7))
  }

  @Test func aStoreWithoutUsersBeginsAtTheFirstRevision() throws {
    let state = try AuthState(importing: [], roles: [], isEnabled: false, revision: 0)
    #expect(state == AuthState())
  }

  @Test func namesThatAreEmptyOrTwiceThereAreRefused() {
    #expect(throws: DecodeError.malformed) {
      try AuthState(importing: [user("a"), user("a")], roles: [], isEnabled: false, revision: 1)
    }
    #expect(throws: DecodeError.malformed) {
      try AuthState(importing: [user("")], roles: [], isEnabled: false, revision: 1)
    }
    #expect(throws: DecodeError.malformed) {
      try AuthState(importing: [], roles: [role("r"), role("r")], isEnabled: false, revision: 1)
    }
    #expect(throws: DecodeError.malformed) {
      try AuthState(importing: [], roles: [role("")], isEnabled: false, revision: 1)
    }
  }
}

/// Users, roles and whether permissions are checked: the replicated state of authentication.
///
/// Changed by the log alone, so every member has the same at the same entry. Everything in it is
/// sorted by name, byte by byte, which is also the order of lists in answers.
package struct AuthState: Sendable, Equatable {
  /// The user and the role that may do everything.
  package static let root = AuthName("root".utf8)
  package static let firstRevision: UInt64 = 1

  package internal(set) var isEnabled = false
  /// Grows with each change of users and roles and when authentication is turned off; turning it
  /// on changes nothing that tokens depend on, and leaves it.
  package internal(set) var revision = Self.firstRevision
  /// The revision at which authentication was last turned off: earlier tokens are void.
  package internal(set) var disableRevision: UInt64 = 0
  package internal(set) var users: [AuthUser] = []
  package internal(set) var roles: [AuthRole] = []

  package init() {}

  package func user(_ name: AuthName) -> AuthUser? {
    place(of: name, in: users, \.name).found.map { users[$0] }
  }

  package func role(_ name: AuthName) -> AuthRole? {
    place(of: name, in: roles, \.name).found.map { roles[$0] }
  }

  /// Whether a token that was given for `name` at `credentialRevision` is still good: the user is
  /// there with the same password, and authentication was not turned off since.
  package func honours(_ name: AuthName, credentialRevision: UInt64, givenAt: UInt64) -> Bool {
    isEnabled && givenAt >= disableRevision
      && user(name)?.credentialRevision == credentialRevision
  }

  /// Turns the checks on. Does nothing when they are on.
  package mutating func enable() throws(AuthError) {
    guard !isEnabled else { return }
    guard let user = user(Self.root) else { throw .rootUserNotExist }
    guard user.isRoot else { throw .rootRoleNotExist }
    isEnabled = true
  }

  /// Turns the checks off. Does nothing when they are off.
  package mutating func disable() {
    guard isEnabled else { return }
    isEnabled = false
    revision += 1
    disableRevision = revision
  }

  /// Where `name` is in a sorted list, or where it belongs.
  func place<Element>(
    of name: AuthName,
    in list: [Element],
    _ key: KeyPath<Element, AuthName>
  ) -> (found: Int?, insertion: Int) {
    var (low, high) = (0, list.count)
    while low < high {
      let middle = (low + high) / 2
      if list[middle][keyPath: key].lexicographicallyPrecedes(name) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    let isThere = low < list.count && list[low][keyPath: key] == name
    return (isThere ? low : nil, low)
  }
}

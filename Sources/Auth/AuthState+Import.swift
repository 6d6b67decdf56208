package import Proto

extension AuthState {
  /// What another store had: users with their bcrypt hashes, roles, and whether permissions are
  /// checked. Every token given before is void. Throws `malformed` for a name that is empty or there
  /// twice, or a permission of an unknown kind.
  package init(
    importing users: [Authpb.User],
    roles: [Authpb.Role],
    isEnabled: Bool,
    revision: UInt64
  ) throws(DecodeError) {
    self.init()
    self.isEnabled = isEnabled
    self.revision = max(revision, Self.firstRevision)
    for user in users {
      var names = Set<AuthName>()
      self.users.append(
        AuthUser(
          name: user.name,
          passwordHash: user.password,
          hasNoPassword: user.options?.noPassword ?? false,
          roles: user.roles.map { AuthName($0.utf8) }
            .filter { names.insert($0).inserted }
            .sorted { $0.lexicographicallyPrecedes($1) },
          credentialRevision: self.revision
        )
      )
    }
    for role in roles { self.roles.append(try AuthRole(role)) }
    self.users.sort { $0.name.lexicographicallyPrecedes($1.name) }
    self.roles.sort { $0.name.lexicographicallyPrecedes($1.name) }
    // What is refused here would be refused at the first start.
    self = try AuthState(decoding: encoded())
    guard !self.users.contains(where: \.name.isEmpty), !self.roles.contains(where: \.name.isEmpty)
    else { throw .malformed }
  }
}

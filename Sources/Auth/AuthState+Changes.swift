package import Proto

// What the log may do to users and roles. Each function changes the state and its revision, or
// throws and changes nothing; what is done already is no error and no change.
extension AuthState {
  // MARK: Users

  /// Adds a user. `passwordHash` is what bcrypt made of the password.
  package mutating func addUser(
    _ name: AuthName,
    passwordHash: [UInt8],
    hasNoPassword: Bool
  ) throws(AuthError) {
    if name.isEmpty { throw .userEmpty }
    let place = place(of: name, in: users, \.name)
    if place.found != nil { throw .userAlreadyExists }
    revision += 1
    let user = AuthUser(
      name: name,
      passwordHash: hasNoPassword ? [] : passwordHash,
      hasNoPassword: hasNoPassword,
      roles: [],
      credentialRevision: revision
    )
    users.insert(user, at: place.insertion)
  }

  package mutating func deleteUser(_ name: AuthName) throws(AuthError) {
    if isEnabled && name == Self.root { throw .invalidManagement }
    let index = try userIndex(name)
    users.remove(at: index)
    revision += 1
  }

  /// Gives a user another password. One who has none goes on without.
  package mutating func changePassword(
    _ name: AuthName,
    passwordHash: [UInt8]
  ) throws(AuthError) {
    let index = try userIndex(name)
    revision += 1
    if !users[index].hasNoPassword { users[index].passwordHash = passwordHash }
    users[index].credentialRevision = revision
  }

  /// Gives a role to a user. The role `root` may be given without having been added.
  package mutating func grantRole(_ role: AuthName, to name: AuthName) throws(AuthError) {
    let index = try userIndex(name)
    if role != Self.root { _ = try roleIndex(role) }
    guard !users[index].roles.contains(role) else { return }
    users[index].roles.append(role)
    users[index].roles.sort { $0.lexicographicallyPrecedes($1) }
    revision += 1
  }

  package mutating func revokeRole(_ role: AuthName, from name: AuthName) throws(AuthError) {
    if isEnabled && name == Self.root && role == Self.root { throw .invalidManagement }
    let index = try userIndex(name)
    guard let held = users[index].roles.firstIndex(of: role) else { throw .roleNotGranted }
    users[index].roles.remove(at: held)
    revision += 1
  }

  // MARK: Roles

  package mutating func addRole(_ name: AuthName) throws(AuthError) {
    if name.isEmpty { throw .roleEmpty }
    let place = place(of: name, in: roles, \.name)
    if place.found != nil { throw .roleAlreadyExists }
    roles.insert(AuthRole(name: name, permissions: []), at: place.insertion)
    revision += 1
  }

  /// Deletes a role and takes it from everybody who has it.
  package mutating func deleteRole(_ name: AuthName) throws(AuthError) {
    if isEnabled && name == Self.root { throw .invalidManagement }
    let index = try roleIndex(name)
    roles.remove(at: index)
    for user in users.indices { users[user].roles.removeAll { $0 == name } }
    revision += 1
  }

  /// Adds a permission to a role, or changes the kind of the one that it has on the same keys.
  package mutating func grant(_ permission: Permission, to name: AuthName) throws(AuthError) {
    guard Self.isMeaningful(permission) else { throw .invalidManagement }
    let index = try roleIndex(name)
    let same = roles[index].permissions.firstIndex {
      $0.key == permission.key && $0.rangeEnd == permission.rangeEnd
    }
    if let same {
      roles[index].permissions[same].kind = permission.kind
    } else {
      let later = roles[index].permissions.firstIndex {
        permission.key.lexicographicallyPrecedes($0.key)
      }
      let place = later ?? roles[index].permissions.endIndex
      roles[index].permissions.insert(permission, at: place)
    }
    revision += 1
  }

  package mutating func revoke(
    key: [UInt8],
    rangeEnd: [UInt8],
    from name: AuthName
  ) throws(AuthError) {
    let index = try roleIndex(name)
    let held = roles[index].permissions.firstIndex { $0.key == key && $0.rangeEnd == rangeEnd }
    guard let held else { throw .permissionNotGranted }
    roles[index].permissions.remove(at: held)
    revision += 1
  }

  /// Whether a permission is on any key at all.
  private static func isMeaningful(_ permission: Permission) -> Bool {
    if permission.key.isEmpty { return false }
    if permission.rangeEnd.isEmpty || permission.rangeEnd == [0] { return true }
    return permission.key.lexicographicallyPrecedes(permission.rangeEnd)
  }

  private func userIndex(_ name: AuthName) throws(AuthError) -> Int {
    guard let index = place(of: name, in: users, \.name).found else { throw .userNotFound }
    return index
  }

  private func roleIndex(_ name: AuthName) throws(AuthError) -> Int {
    guard let index = place(of: name, in: roles, \.name).found else { throw .roleNotFound }
    return index
  }
}

extension Permission {
  /// Reads a permission of a request. Throws `.invalidManagement` for a kind that there is not.
  package init(_ message: Authpb.Permission) throws(AuthError) {
    guard let kind = UInt8(exactly: message.permType.rawValue).flatMap(Kind.init(rawValue:)) else {
      throw .invalidManagement
    }
    self.init(kind, key: message.key, rangeEnd: message.rangeEnd)
  }
}

extension Authpb.Permission {
  package init(_ permission: Permission) {
    self.init()
    permType = Authpb.Permission.Kind(rawValue: Int32(permission.kind.rawValue))
    key = permission.key
    rangeEnd = permission.rangeEnd
  }
}

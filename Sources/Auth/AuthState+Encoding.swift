import Base
package import Proto

// The durable form: the fields of a protobuf message, always in this order, so that equal states
// have equal bytes.
//
//     1  varint   whether authentication is on
//     2  varint   revision
//     3  varint   the revision at which it was last turned off
//     4  message  a user, by name: 1 authpb.User, 2 varint the revision of its password
//     5  message  a role, by name: authpb.Role
extension AuthState {
  private enum Field {
    static let isEnabled = 1
    static let revision = 2
    static let disableRevision = 3
    static let user = 4
    static let role = 5

    static let userMessage = 1
    static let userCredentialRevision = 2
  }

  package func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.append(field: Field.isEnabled, varint: isEnabled ? 1 : UInt64(0))
    writer.append(field: Field.revision, varint: revision)
    writer.append(field: Field.disableRevision, varint: disableRevision)
    for user in users {
      let start = writer.count
      let message = Authpb.User(user).encoded()
      message.withUnsafeBytes { writer.append(field: Field.userMessage, content: $0) }
      writer.append(field: Field.userCredentialRevision, varint: user.credentialRevision)
      writer.closeField(Field.user, since: start)
    }
    for role in roles {
      let message = Authpb.Role(role).encoded()
      message.withUnsafeBytes { writer.append(field: Field.role, content: $0) }
    }
    return [UInt8](writer.bytes)
  }

  /// Reads what `encoded` wrote. Throws `malformed` for anything else.
  package init(decoding bytes: [UInt8]) throws(DecodeError) {
    self.init()
    try bytes.withUnsafeBufferPointer { bytes throws(DecodeError) in
      try read(UnsafeRawBufferPointer(bytes))
    }
    guard Self.isSorted(users.map(\.name)), Self.isSorted(roles.map(\.name)), revision > 0 else {
      throw .malformed
    }
  }

  private mutating func read(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) {
    var scanner = WireScanner(bytes)
    while let field = try scanner.next() {
      switch (field.number, field.value) {
      case (Field.isEnabled, .varint(let number)): isEnabled = number != 0
      case (Field.revision, .varint(let number)): revision = number
      case (Field.disableRevision, .varint(let number)): disableRevision = number
      case (Field.user, .content(let content)): users.append(try Self.user(content))
      case (Field.role, .content(let content)):
        roles.append(try AuthRole(try Authpb.Role(decoding: content)))
      default: throw .malformed
      }
    }
  }

  private static func user(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) -> AuthUser {
    var message: Authpb.User?
    var credentialRevision: UInt64 = 0
    var scanner = WireScanner(bytes)
    while let field = try scanner.next() {
      switch (field.number, field.value) {
      case (Field.userMessage, .content(let content)):
        message = try Authpb.User(decoding: content)
      case (Field.userCredentialRevision, .varint(let number)): credentialRevision = number
      default: throw .malformed
      }
    }
    guard let message else { throw .malformed }
    return AuthUser(
      name: message.name,
      passwordHash: message.password,
      hasNoPassword: message.options?.noPassword ?? false,
      roles: message.roles.map { AuthName($0.utf8) },
      credentialRevision: credentialRevision
    )
  }

  private static func isSorted(_ names: [AuthName]) -> Bool {
    zip(names, names.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) }
  }
}

extension Authpb.User {
  package init(_ user: AuthUser) {
    self.init()
    name = user.name
    password = user.passwordHash
    roles = user.roles.map { String(decoding: $0, as: UTF8.self) }
    if user.hasNoPassword { options = Authpb.UserAddOptions(noPassword: true) }
  }
}

extension Authpb.Role {
  package init(_ role: AuthRole) {
    self.init()
    name = role.name
    keyPermission = role.permissions.map { Authpb.Permission($0) }
  }
}

extension AuthRole {
  init(_ message: Authpb.Role) throws(DecodeError) {
    name = message.name
    permissions = []
    for permission in message.keyPermission {
      do throws(AuthError) {
        permissions.append(try Permission(permission))
      } catch {
        throw .malformed
      }
    }
  }
}

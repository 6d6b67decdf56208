/// The name of a user or a role: bytes, because Swift's strings compare equal when they only look
/// equal.
package typealias AuthName = [UInt8]

/// A right to read, to write, or both, on one key or a range of keys.
package struct Permission: Sendable, Hashable {
  package enum Kind: UInt8, Sendable, CaseIterable {
    case read = 0
    case write = 1
    case readWrite = 2

    package var allowsReading: Bool { self != .write }
    package var allowsWriting: Bool { self != .read }
  }

  package var kind: Kind
  package var key: [UInt8]
  /// Empty: `key` alone. `\0`: every key from `key` on. Else the end, which is not part of it.
  package var rangeEnd: [UInt8]

  package init(_ kind: Kind, key: [UInt8], rangeEnd: [UInt8] = []) {
    self.kind = kind
    self.key = key
    self.rangeEnd = rangeEnd
  }
}

/// A user as the log made it.
package struct AuthUser: Sendable, Hashable {
  package internal(set) var name: AuthName
  /// What bcrypt made of the password; empty for a user without one.
  package internal(set) var passwordHash: [UInt8]
  /// The user is known by a certificate only.
  package internal(set) var hasNoPassword: Bool
  /// Sorted, each once.
  package internal(set) var roles: [AuthName]
  /// The auth revision at which the user was made or last got a password: tokens that were given
  /// for an earlier one are void.
  package internal(set) var credentialRevision: UInt64

  package var isRoot: Bool { roles.contains(AuthState.root) }
}

/// A role as the log made it.
package struct AuthRole: Sendable, Hashable {
  package internal(set) var name: AuthName
  /// Sorted by key; those of one key in the order in which they were granted.
  package internal(set) var permissions: [Permission]
}

/// In whose name a request is made: a user and the auth revision at which this was established.
package struct Caller: Sendable, Hashable {
  package var name: AuthName
  package var revision: UInt64

  package init(name: AuthName, revision: UInt64) {
    self.name = name
    self.revision = revision
  }

  /// Nobody: a request without a token.
  package static let nobody = Caller(name: [], revision: 0)
}

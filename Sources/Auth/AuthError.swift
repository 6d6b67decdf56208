/// Why a change of users and roles, or a request in a user's name, was refused.
///
/// The texts that clients see are in `MartletServer`'s `ErrorTable`.
package enum AuthError: Error, CaseIterable, Sendable {
  case rootUserNotExist
  case rootRoleNotExist
  case userAlreadyExists
  case userEmpty
  case userNotFound
  case roleAlreadyExists
  case roleNotFound
  case roleEmpty
  case permissionNotGiven
  case permissionDenied
  case roleNotGranted
  case permissionNotGranted
  case invalidManagement
  case oldRevision
}

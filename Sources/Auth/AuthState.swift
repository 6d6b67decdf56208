/// Users, roles and whether permissions are checked: the replicated state of authentication.
package struct AuthState: Sendable {
  package init() {}
}

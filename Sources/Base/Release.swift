/// What this build calls itself, the one place where it is said.
package enum Release {
  /// Martlet's own version.
  package static let martlet = "0.1.0"
  /// The etcd release whose API this build serves.
  package static let etcdCompatible = "3.6.0"
  /// The version of the API, as etcd's tools print it.
  package static let api = "3.6"
}

import Base

/// What this build calls itself.
public enum Version {
  /// Martlet's own version.
  public static let martlet = Release.martlet
  /// The etcd release whose API this build serves; clients decide by it what they may ask for.
  public static let etcdCompatible = Release.etcdCompatible
  /// The cluster's version as answers about downgrades name it.
  static let cluster = "3.6"
  /// The storage version that `Status` reports, in etcd's numbering.
  static let storage = "3.6.0"
}

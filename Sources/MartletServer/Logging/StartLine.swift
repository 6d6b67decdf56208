import Logging
import Membership

/// What the log says once a member serves: who it is, where it is reached, and what it keeps where.
enum StartLine {
  static func fields(
    _ configuration: ResolvedConfiguration,
    _ context: MemberContext,
    bound: ClientListeners.Bound
  ) -> Logger.Metadata {
    let listeners = configuration.clientListeners
    let secure = listeners.count { $0.isSecure }
    var fields: Logger.Metadata = [
      "martlet": .string(Version.martlet),
      "etcd": .string(Version.etcdCompatible),
      "name": .string(configuration.source.name),
      "member": .string("\(context.memberID)"),
      "cluster": .string("\(context.clusterID)"),
      "peers": .string(bound.peers.joined(separator: ",")),
      "clients": .string(bound.client.joined(separator: ",")),
      "advertised": .string(
        configuration.advertiseClientURLs.map(\.description).joined(separator: ",")
      ),
      "data": .string(configuration.dataDirectoryPath),
      "tls": .string(secure == 0 ? "off" : secure == listeners.count ? "on" : "on some"),
      "quota": .string(configuration.quotaBytes.map(bytes) ?? "none"),
    ]
    if !bound.http.isEmpty { fields["http"] = .string(bound.http.joined(separator: ",")) }
    if !bound.metrics.isEmpty { fields["metrics"] = .string(bound.metrics.joined(separator: ",")) }
    return fields
  }

  /// A size for people: whole units where they fit.
  private static func bytes(_ count: Int) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)]
    where count >= 1 << shift && count % (1 << shift) == 0 {
      return "\(count >> shift) \(unit)"
    }
    return "\(count) B"
  }
}

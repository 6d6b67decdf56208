import Discovery
import Membership
import NIOCore

/// Finds the founding members by SRV records: `_etcd-server-ssl._tcp.<domain>` for https, and
/// `_etcd-server._tcp.<domain>` for http.
struct ServiceDiscovery {
  let source: ServerConfiguration
  let advertisePeerURLs: [ServerURL]

  /// The text that `--initial-cluster` would have. The records say no names: this member's own URL gets
  /// its name, the others are numbered.
  func initialCluster() async throws -> String {
    let suffix = source.discoverySRVName.isEmpty ? "" : "-\(source.discoverySRVName)"
    var parts: [String] = []
    var failures: [String] = []
    var hasSelf = false
    for (service, scheme) in [("etcd-server-ssl", "https"), ("etcd-server", "http")] {
      let name = "_\(service)\(suffix)._tcp.\(source.discoverySRV)"
      do {
        let records = try await ServiceLookup.records(of: name, server: source.discoveryResolver)
        for record in records {
          let text = "\(scheme)://\(record.target):\(record.port)"
          let url = try ServerURL(text)
          let isSelf = advertisePeerURLs.contains { PeerURLs.areEqual([$0], [url]) }
          hasSelf = hasSelf || isSelf
          parts.append("\(isSelf ? source.name : "\(parts.count)")=\(text)")
        }
      } catch {
        failures.append("\(error)")
      }
    }
    guard !parts.isEmpty else {
      throw StartError.failed(
        "--discovery-srv: error querying DNS SRV records of \(source.discoverySRV): "
          + failures.joined(separator: "; ")
      )
    }
    guard hasSelf else {
      throw StartError.failed(
        "--discovery-srv: the SRV records of \(source.discoverySRV) do not name this member; they "
          + "name \(parts.joined(separator: ","))"
      )
    }
    return parts.joined(separator: ",")
  }
}

/// The endpoints that a domain names for the clients of its cluster: `_etcd-client-ssl._tcp.<domain>`
/// for https, and `_etcd-client._tcp.<domain>` for http.
package enum ClientServices {
  package struct Endpoint: Hashable, Sendable {
    package let isSecure: Bool
    package let record: ServiceRecord

    package init(isSecure: Bool, record: ServiceRecord) {
      self.isSecure = isSecure
      self.record = record
    }

    package var url: String {
      "\(isSecure ? "https" : "http")://\(record.target):\(record.port)"
    }
  }

  /// No service of the domain has records; `description` is meant for the operator.
  package struct NothingFound: Error, CustomStringConvertible {
    package let description: String
  }

  /// The secure ones first. `serviceName` is --discovery-srv-name; `server` as of `ServiceLookup`.
  ///
  /// Throws `NothingFound`.
  package static func endpoints(
    of domain: String,
    serviceName: String = "",
    server: String = ""
  ) async throws -> [Endpoint] {
    let suffix = serviceName.isEmpty ? "" : "-\(serviceName)"
    var endpoints: [Endpoint] = []
    var failures: [String] = []
    for (service, isSecure) in [("etcd-client-ssl", true), ("etcd-client", false)] {
      let name = "_\(service)\(suffix)._tcp.\(domain)"
      do {
        let records = try await ServiceLookup.records(of: name, server: server)
        endpoints += records.map { Endpoint(isSecure: isSecure, record: $0) }
      } catch {
        failures.append("lookup \(name): \(error)")
      }
    }
    guard !endpoints.isEmpty else {
      throw NothingFound(description: "dns lookup errors: " + failures.joined(separator: " and "))
    }
    return endpoints
  }
}

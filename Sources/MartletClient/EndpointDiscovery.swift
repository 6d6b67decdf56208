import Discovery

extension ClientConfiguration {
  /// The endpoints that a domain names in SRV records: `_etcd-client-ssl._tcp` of it for `https`, then
  /// `_etcd-client._tcp` for `http`; each by its priority. What records say is not proven: check who
  /// answers by TLS.
  ///
  /// `serviceName`: Tells several clusters of one domain apart: `_etcd-client-NAME._tcp`.
  /// `nameServer`: `address:port`; empty: the system's.
  ///
  /// Throws code `unavailable` when there are no such records, or nobody answers.
  public static func discoverEndpoints(
    of domain: String,
    serviceName: String = "",
    nameServer: String = ""
  ) async throws(ClientError) -> [String] {
    let suffix = serviceName.isEmpty ? "" : "-\(serviceName)"
    var endpoints: [String] = []
    var reason: (any Error)?
    for (service, scheme) in [("etcd-client-ssl", "https"), ("etcd-client", "http")] {
      do {
        let name = "_\(service)\(suffix)._tcp.\(domain)"
        let records = try await ServiceLookup.records(of: name, server: nameServer)
        endpoints += records.sorted { $0.priority < $1.priority }
          .map { "\(scheme)://\($0.target):\($0.port)" }
      } catch {
        reason = error
      }
    }
    guard endpoints.isEmpty else { return endpoints }
    let text = reason.map { "\($0)" } ?? "there are no SRV records of \(domain)"
    throw ClientError(.unavailable, text, outcome: .notDone)
  }
}

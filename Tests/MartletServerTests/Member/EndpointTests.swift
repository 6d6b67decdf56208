import MartletServer
import Proto
import RPC
import Testing

@Suite("A running member: plain HTTP")
struct EndpointTests {
  @Test("health, probes and version")
  func probes() async throws {
    try await withMember { member in
      let port = member.port
      let health = try await HTTPExchange.get("/health", port: port)
      #expect(health.status == 200)
      #expect(health.body == #"{"health":"true","reason":""}"#)
      #expect(health.head.contains("application/json"))
      let serializable = try await HTTPExchange.get("/health?serializable=true", port: port)
      #expect(serializable.body == health.body)
      let version = try await HTTPExchange.get("/version", port: port)
      #expect(
        version.body == #"{"etcdserver":"3.6.0","etcdcluster":"3.6.0","storage":"3.6.0"}"#
      )

      #expect(try await HTTPExchange.get("/livez", port: port).body == "ok\n")
      #expect(try await HTTPExchange.get("/readyz", port: port).body == "ok\n")
      #expect(
        try await HTTPExchange.get("/livez?verbose", port: port).body
          == "[+]serializable_read ok\nlivez check passed\n"
      )
      #expect(
        try await HTTPExchange.get("/readyz?verbose", port: port).body
          == "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n"
          + "readyz check passed\n"
      )
      #expect(
        try await HTTPExchange.get("/readyz?verbose&exclude=linearizable_read", port: port).body
          == "[+]data_corruption ok\n[+]serializable_read ok\n"
          + "[+]linearizable_read excluded: ok\nreadyz check passed\n"
      )
      #expect(
        try await HTTPExchange.get("/readyz/linearizable_read?verbose", port: port).body
          == "[+]linearizable_read ok\nreadyz check passed\n"
      )
      for target in ["/livez/linearizable_read", "/readyz/nothing", "/readyz/a/b", "/", "/healthy"]
      {
        #expect(try await HTTPExchange.get(target, port: port).status == 404, "\(target)")
      }
      #expect(try await HTTPExchange.get("/health", port: port, method: "PUT").status == 405)
      let head = try await HTTPExchange.get("/health", port: port, method: "HEAD")
      #expect(head.status == 200 && head.body.isEmpty)
    }
  }
}

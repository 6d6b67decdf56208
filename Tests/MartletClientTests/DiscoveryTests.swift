import MartletClient
import NIOCore
import NIOPosix
import Testing

/// Endpoints by SRV records.
@Suite struct DiscoveryTests {
  private func discover(
    _ records: [String: [(host: String, port: UInt16)]],
    serviceName: String = ""
  ) async throws -> [String] {
    let server = NameServer(records)
    let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { $0.pipeline.addHandler(server) }
      .bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(channel.localAddress?.port)
    let result: Result<[String], ClientError>
    do throws(ClientError) {
      result = .success(
        try await ClientConfiguration.discoverEndpoints(
          of: "example.test",
          serviceName: serviceName,
          nameServer: "127.0.0.1:\(port)"
        )
      )
    } catch {
      result = .failure(error)
    }
    try await channel.close()
    return try result.get()
  }

  @Test func secureRecordsComeFirst() async throws {
    let endpoints = try await discover([
      "_etcd-client._tcp.example.test": [("a.example.test", 2379), ("b.example.test", 12379)],
      "_etcd-client-ssl._tcp.example.test": [("c.example.test", 2379)],
    ])
    #expect(
      endpoints == [
        "https://c.example.test:2379", "http://a.example.test:2379", "http://b.example.test:12379",
      ]
    )
  }

  @Test func clustersOfOneDomainAreToldApart() async throws {
    let records: [String: [(host: String, port: UInt16)]] = [
      "_etcd-client._tcp.example.test": [("a.example.test", 1)],
      "_etcd-client-blue._tcp.example.test": [("b.example.test", 2)],
    ]
    #expect(
      try await discover(records, serviceName: "blue") == ["http://b.example.test:2"]
    )
  }

  @Test func noRecordsAreAnError() async {
    await expectFailure(.unavailable, .notDone) { _ = try await discover([:]) }
  }
}

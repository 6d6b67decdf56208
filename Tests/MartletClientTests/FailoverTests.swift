import MartletClient
import MartletServer
import MetricsTestKit
import NIOCore
import Testing

/// Endpoints that die, hang, answer slowly, and change. One store stands behind several proxies, each
/// of which is an endpoint.
@Suite struct FailoverTests {
  /// Where nobody listens, and no test of this run will: ports that the system gives to nobody.
  static let dead = ["127.0.0.1:1", "127.0.0.1:2"]

  /// How often `key` was written.
  private func version(_ key: String, _ address: String) async throws -> Int64 {
    var version: Int64 = 0
    try await withClient([address]) { client in
      version = try await client.kv.get(key)?.version ?? 0
    }
    return version
  }

  @Test(arguments: ServerKind.available)
  func aWriteWhoseAnswerIsLostIsNotRepeated(server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(2, to: target) { proxies in
        try await withClient(proxies.map(\.address)) { client in
          for name in 0..<4 { try await client.kv.put("warm/\(name)", "") }
          for proxy in proxies { proxy.set(.muteAnswers) }
          let muted = proxies.map(\.mutedRequestBytes).reduce(0, +)
          async let put = client.kv.put("once", "1")
          // The request has reached the server when the store shows it.
          try await eventually { try await version("once", target) == 1 }
          #expect(proxies.map(\.mutedRequestBytes).reduce(0, +) > muted)
          for proxy in proxies {
            proxy.set(.pass)
            proxy.cut()
          }
          do {
            _ = try await put
            Issue.record("the answer came through")
          } catch let error as ClientError {
            #expect(error.code == .unavailable && error.outcome == .unknown, "\(error)")
            #expect(proxies.contains { error.endpoint == $0.address })
          }
          // Reads find their way, and the write has been made once.
          for _ in 0..<4 { #expect(try await client.kv.get("once")?.version == 1) }
          try await client.kv.put("later", "1")
          #expect(try await client.kv.get("once")?.version == 1)
        }
      }
    }
  }

  @Test func aReadWhoseAnswerIsLostIsRepeated() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          try await client.kv.put("a", "1")
          proxies[0].set(.muteAnswers)
          let muted = proxies[0].mutedRequestBytes
          async let value = client.kv.get("a")
          try await eventually { proxies[0].mutedRequestBytes > muted }
          proxies[0].set(.pass)
          proxies[0].cut()
          #expect(try await value?.text == "1")
        }
      }
    }
  }

  @Test func writesGoToEndpointsThatCanBeReached() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient(Self.dead + [proxies[0].address]) { client in
          for count in 1...10 {
            let result = try await client.kv.put("a", "\(count)", returnsPrevious: true)
            #expect(result.previous?.version ?? 0 == Int64(count - 1))
          }
          // The dead are left alone after their first failures.
          #expect(proxies[0].acceptCount == 1)
        }
      }
    }
  }

  @Test func withoutAnyEndpointNothingIsDone() async throws {
    try await withClient(Self.dead) { client in
      await expectFailure(.unavailable, .notDone) {
        try await client.kv.withDeadline(.milliseconds(200)).put("a", "1")
      }
      await expectFailure(.unavailable, .notDone) {
        _ = try await client.kv.withDeadline(.milliseconds(200)).get("a")
      }
    }
  }

  @Test func aReadLeavesAnEndpointThatHangs() async throws {
    try await withMember { _, target in
      try await withProxies(2, to: target) { proxies in
        try await withClient(proxies.map(\.address)) { client in
          for count in 0..<4 { try await client.kv.put("a", "\(count)") }
          proxies[0].set(.hang)
          let patient = client.kv.withDeadline(.seconds(4))
          for _ in 0..<10 { #expect(try await patient.get("a")?.text == "3") }
        }
      }
    }
  }

  /// An endpoint that hangs gets one write, whose outcome stays unknown, and then none until it has
  /// answered a question.
  @Test func noMoreWritesAreStakedOnAnEndpointThatHangs() async throws {
    try await withMember { _, target in
      try await withProxies(2, to: target) { proxies in
        let metrics = TestMetrics()
        try await withClient(proxies.map(\.address), \.metricsFactory, metrics) { client in
          for _ in 0..<4 { try await client.kv.put("a", "warm") }
          proxies[0].set(.hang)
          let hasty = client.kv.withDeadline(.milliseconds(500))
          var failureCount = 0
          while failureCount == 0 {
            do throws(ClientError) {
              try await hasty.put("a", "1")
            } catch {
              #expect(error.endpoint == proxies[0].address && error.outcome == .unknown)
              failureCount += 1
            }
          }
          let patient = client.kv.withDeadline(.seconds(60))
          // It is asked, in vain, several times meanwhile.
          let swallowed = proxies[0].swallowedBytes
          try await eventually {
            try await patient.put("a", "2")
            return proxies[0].swallowedBytes > swallowed
          }
          for _ in 0..<20 { try await patient.put("a", "3") }
          proxies[0].set(.pass)
          proxies[0].cut()
          let accepted = proxies[0].acceptCount
          try await eventually { proxies[0].acceptCount > accepted }
          await proxies[1].stop()
          try await eventually {
            do throws(ClientError) {
              try await client.kv.put("a", "4")
              return true
            } catch {
              // The connection that was cut may have had this write.
              return false
            }
          }
          #expect(metrics.counterTotal(label: "martlet_client_endpoint_failures_total") <= 2)
        }
      }
    }
  }

  @Test func aWriteThatHangsIsUnknown() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          try await client.kv.put("warm", "")
          proxies[0].set(.hang)
          await expectFailure(.deadlineExceeded, .unknown) {
            try await client.kv.withDeadline(.milliseconds(200)).put("a", "1")
          }
        }
      }
    }
  }

  @Test func aSlowEndpointIsWaitedForAndNothingIsSentTwice() async throws {
    try await withMember { _, target in
      try await withProxies(2, to: target) { proxies in
        for proxy in proxies { proxy.set(.slow(.milliseconds(30))) }
        try await withClient(proxies.map(\.address)) { client in
          for count in 1...10 {
            let result = try await client.kv.put("a", "\(count)", returnsPrevious: true)
            #expect(result.previous?.version ?? 0 == Int64(count - 1))
          }
        }
      }
    }
  }

  @Test func cancellingTheTaskTakesTheCallBack() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          try await client.kv.put("warm", "")
          proxies[0].set(.muteAnswers)
          let put = Task { try await client.kv.put("a", "1") }
          try await eventually { try await version("a", target) == 1 }
          put.cancel()
          await expectFailure(.canceled, .unknown) { _ = try await put.value }
          let get = Task { try await client.kv.get("a") }
          get.cancel()
          await expectFailure(.canceled, .notDone) { _ = try await get.value }
        }
      }
    }
  }

  @Test func closingEndsCallsAndConnections() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          let watch = try await client.watch("a")
          proxies[0].set(.muteAnswers)
          let put = Task { try await client.kv.put("a", "1") }
          try await eventually { try await version("a", target) == 1 }
          let event = Task { () -> WatchEvent? in
            for try await event in watch { return event }
            return nil
          }
          await client.close()
          await expectFailure(.closed, .unknown) { _ = try await put.value }
          await expectFailure(.closed) { _ = try await event.value }
          await expectFailure(.closed, .notDone) { _ = try await client.kv.get("a") }
          await client.close()
        }
      }
    }
  }

  @Test func endpointsCanChange() async throws {
    try await withMember { _, target in
      try await withProxies(2, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          try await client.kv.put("a", "1")
          try client.setEndpoints([proxies[1].address])
          await proxies[0].stop()
          for count in 0..<5 { try await client.kv.put("a", "\(count)") }
          #expect(client.endpoints == [proxies[1].address])
          #expect(proxies[1].acceptCount == 1)
          await expectFailure(.invalidArgument) { try client.setEndpoints([]) }
          await expectFailure(.invalidArgument) { try client.setEndpoints(["ftp://a"]) }
          #expect(client.endpoints == [proxies[1].address])
        }
      }
    }
  }

  @Test func membersTellTheirAddresses() async throws {
    try await withMember(\.advertiseClientURLs, ["http://127.0.0.1:1"]) { _, target in
      try await withClient([target]) { client in
        try await client.syncMembers()
        #expect(client.endpoints == ["http://127.0.0.1:1"])
      }
    }
  }

  @Test func stickyCallsStayAndRoundRobinMoves() async throws {
    try await withMember { _, target in
      for balancing in [ClientConfiguration.Balancing.sticky, .roundRobin] {
        try await withProxies(3, to: target) { proxies in
          try await withClient(proxies.map(\.address), \.balancing, balancing) { client in
            for _ in 0..<6 { try await client.kv.put("a", "1") }
            let used = proxies.count { $0.acceptCount > 0 }
            #expect(used == (balancing == .sticky ? 1 : 3))
          }
        }
      }
    }
  }

  @Test(arguments: [
    "", "http://", "ftp://host", "http://a b", "host:0", "host:65536", "host:x", "a:b:c",
    "http://h/path", "unix://", "[::1", "[::1]x",
  ])
  func badEndpointsAreRefused(text: String) async {
    await expectFailure(.invalidArgument, .refused) {
      _ = try Client(endpoints: [text])
    }
  }

  @Test(arguments: [
    "127.0.0.1", "host:1", "http://host", "https://host:2379/", "[::1]:2379", "[::1]",
    "unix:///tmp/x",
  ])
  func goodEndpointsAreTaken(text: String) async throws {
    let client = try Client(endpoints: [text])
    #expect(client.endpoints == [text])
    await client.close()
  }
}

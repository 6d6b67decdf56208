import Testing

@testable import Gateway

/// Numbers that come again.
private struct Sequence: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

@Suite struct EndpointPoolTests {
  private func endpoint(
    _ host: String,
    priority: UInt16 = 0,
    weight: UInt16 = 0
  ) -> GatewayEndpoint {
    GatewayEndpoint(host: host, port: 1, priority: priority, weight: weight)
  }

  @Test("endpoints without weights take turns")
  func turns() {
    var pool = EndpointPool(["a", "b", "c"].map { endpoint($0) })
    var random = Sequence(state: 1)
    let picks = (0..<9).map { _ in pool.pick(except: [], using: &random) }
    for place in 0..<3 { #expect(picks.filter { $0 == place }.count == 3) }
  }

  @Test("the lowest priority that works is used, and a failed one only when no other is left")
  func priorities() {
    var pool = EndpointPool([
      endpoint("far", priority: 20), endpoint("near", priority: 10),
      endpoint("near too", priority: 10),
    ])
    var random = Sequence(state: 2)
    var seen: Set<Int?> = []
    for _ in 0..<20 { seen.insert(pool.pick(except: [], using: &random)) }
    #expect(seen == [1, 2])
    func picks(except tried: Set<Int> = []) -> Set<Int?> {
      Set((0..<20).map { _ in pool.pick(except: tried, using: &random) })
    }
    #expect(picks(except: [1, 2]) == [0])
    let isNews = [pool.markFailed(1), pool.markFailed(1)]
    #expect(isNews == [true, false])
    #expect(picks() == [2])
    _ = pool.markFailed(2)
    #expect(picks() == [0])
    _ = pool.markFailed(0)
    #expect(pool.failedPlaces == [0, 1, 2])
    #expect(picks(except: [1]) == [2])
    #expect(picks(except: [0, 1, 2]) == [nil])
    let isGoodNews = [pool.markWorking(0), pool.markWorking(0)]
    #expect(isGoodNews == [true, false])
    #expect(picks() == [0])
  }

  @Test("weights are proportions, and weight 0 is seldom")
  func weights() {
    var pool = EndpointPool([
      endpoint("a", weight: 10), endpoint("b", weight: 30), endpoint("c", weight: 0),
    ])
    var random = Sequence(state: 3)
    var counts = [0, 0, 0]
    for _ in 0..<10_000 {
      if let place = pool.pick(except: [], using: &random) { counts[place] += 1 }
    }
    #expect((2200...2800).contains(counts[0]))
    #expect((7000...7800).contains(counts[1]))
    #expect((20...300).contains(counts[2]))
  }

  @Test(
    "endpoints as they are written",
    arguments: [
      ("127.0.0.1:2379", "127.0.0.1:2379"), ("http://a.b:1", "a.b:1"),
      ("https://a.b:1/path", "a.b:1"), ("[::1]:80", "[::1]:80"), (":5", ":5"),
    ]
  )
  func reads(text: String, description: String) {
    #expect(GatewayEndpoint(text)?.description == description)
  }

  @Test(
    "and as they are not",
    arguments: ["", "a", "a:", "a:b", "a:70000", "::1:80", "a:-1", "a: 1"]
  )
  func refuses(text: String) {
    #expect(GatewayEndpoint(text) == nil)
  }
}

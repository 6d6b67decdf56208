/// Which of the endpoints are thought to work, and whose turn it is.
struct EndpointPool: Sendable {
  let endpoints: [GatewayEndpoint]
  private var failed: Set<Int> = []
  /// Turns among endpoints without a weight.
  private var turns = 0
  /// One pick in so many goes to an endpoint of weight 0 where others have weights: RFC 2782 wants
  /// "a very small chance".
  private static let unweightedChance = 100

  init(_ endpoints: [GatewayEndpoint]) {
    self.endpoints = endpoints
  }

  /// The places of those that have failed and not been seen to work since.
  var failedPlaces: [Int] { failed.sorted() }

  /// The place of the endpoint to try next, none of `tried`. One that has failed comes up only when
  /// no other is left: an attempt is better than none. Nil when all have been tried.
  mutating func pick(
    except tried: Set<Int>,
    using random: inout some RandomNumberGenerator
  ) -> Int? {
    let left = endpoints.indices.filter { !tried.contains($0) }
    let working = left.filter { !failed.contains($0) }
    let candidates = working.isEmpty ? left : working
    guard let best = candidates.map({ endpoints[$0].priority }).min() else { return nil }
    let peers = candidates.filter { endpoints[$0].priority == best }
    let weighted = peers.filter { endpoints[$0].weight > 0 }
    let unweighted = peers.filter { endpoints[$0].weight == 0 }
    if !unweighted.isEmpty,
      weighted.isEmpty || Int.random(in: 0..<Self.unweightedChance, using: &random) == 0
    {
      turns &+= 1
      return unweighted[turns % unweighted.count]
    }
    let sum = weighted.reduce(0) { $0 + Int(endpoints[$1].weight) }
    var rest = Int.random(in: 0..<sum, using: &random)
    for place in weighted {
      rest -= Int(endpoints[place].weight)
      if rest < 0 { return place }
    }
    return weighted.last
  }

  /// Returns whether the endpoint was thought to work.
  mutating func markFailed(_ place: Int) -> Bool { failed.insert(place).inserted }

  /// Returns whether the endpoint was thought to have failed.
  mutating func markWorking(_ place: Int) -> Bool { failed.remove(place) != nil }
}

/// The links between members: how likely a message is lost, how long it takes.
struct SimulatedNetwork {
  /// A direction between two members.
  struct Link {
    var isCut = false
    /// One in so many messages is lost; 0 for none.
    var lossOneIn = 0
    var duplicateOneIn = 0
    var delayMaxMicroseconds = 2000
  }

  static let delayMinMicroseconds = 100

  private(set) var links: [[Link]] = []
  /// Which stream between two members it is by now: what was sent on an earlier one never arrives.
  private var streams: [[Int]] = []

  init(count: Int) {
    resize(count)
  }

  /// Makes room for more members.
  mutating func resize(_ count: Int) {
    for row in links.indices {
      while links[row].count < count { links[row].append(Link()) }
    }
    while links.count < count { links.append(Array(repeating: Link(), count: count)) }
    for row in streams.indices {
      while streams[row].count < count { streams[row].append(0) }
    }
    while streams.count < count { streams.append(Array(repeating: 0, count: count)) }
  }

  func stream(from: Int, to: Int) -> Int { streams[from][to] }

  mutating func heal() {
    for from in links.indices {
      for to in links.indices { links[from][to] = Link() }
    }
  }

  /// When copies of a message arrive, in nanoseconds from now; none when it is lost.
  func delays(
    from: Int,
    to: Int,
    _ random: inout SeededGenerator
  ) -> [UInt64] {
    let link = links[from][to]
    if link.isCut || (link.lossOneIn > 0 && random.oneIn(link.lossOneIn)) { return [] }
    func delay() -> UInt64 {
      UInt64(Self.delayMinMicroseconds + random.below(link.delayMaxMicroseconds)) * 1000
    }
    var delays = [delay()]
    if link.duplicateOneIn > 0, random.oneIn(link.duplicateOneIn) {
      delays.append(delay() * 3)
    }
    return delays
  }

  // MARK: Faults

  mutating func cut(_ from: Int, _ to: Int) { links[from][to].isCut = true }

  /// Breaks the streams between two members, both ways, and lets none be made until `join`.
  mutating func breakStreams(_ one: Int, _ other: Int) {
    for (from, to) in [(one, other), (other, one)] {
      cut(from, to)
      streams[from][to] += 1
    }
  }

  mutating func join(_ one: Int, _ other: Int) {
    links[one][other].isCut = false
    links[other][one].isCut = false
  }

  /// Cuts every link between the two sides.
  mutating func part(_ isOnOneSide: [Bool]) {
    for from in links.indices {
      for to in links.indices where isOnOneSide[from] != isOnOneSide[to] { cut(from, to) }
    }
  }

  mutating func setAll(_ change: (inout Link) -> Void) {
    for from in links.indices {
      for to in links.indices { change(&links[from][to]) }
    }
  }
}

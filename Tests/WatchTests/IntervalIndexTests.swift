import Testing
import Watch

@Suite struct IntervalIndexTests {
  /// The spans around a key, after random insertions and removals, are those that a look at every
  /// one of them finds.
  @Test(arguments: 1...40) func againstEveryOneOfThem(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var index = IntervalIndex(seed: seed)
    var known: [Int32: (key: [UInt8], end: [UInt8])] = [:]
    for _ in 0..<400 {
      if random.oneIn(3), let gone = known.keys.sorted().randomElement(using: &random) {
        known[gone] = nil
        index.remove(gone)
      } else {
        let key = bytes(&random)
        let end = end(&random, after: key)
        let place = key.withUnsafeBytes { key in
          end.withUnsafeBytes { end in index.insert(key: key, end: end) }
        }
        if let same = known[place] { #expect(same == (key, end), "seed \(seed)") }
        known[place] = (key, end)
      }
      #expect(index.count == known.count, "seed \(seed)")
      let wanted = bytes(&random)
      var found: [Int32] = []
      wanted.withUnsafeBytes { key in index.forEachSpan(holding: key) { found.append($0) } }
      let expected = known.filter { Self.contains($0.value, wanted) }.keys.sorted()
      #expect(found.sorted() == expected, "seed \(seed), key \(wanted)")
    }
    for place in known.keys.sorted() { index.remove(place) }
    #expect(index.count == 0 && index.byteCount == 0, "seed \(seed)")
  }

  @Test func manyKeysAndBackToNone() {
    var index = IntervalIndex(seed: 9)
    var places: [Int32] = []
    for number in 0..<20_000 {
      let key = Array("key/\(number)".utf8)
      let end = number % 2 == 0 ? [] : Array("key/\(number)0".utf8)
      places.append(
        key.withUnsafeBytes { key in
          end.withUnsafeBytes { end in index.insert(key: key, end: end) }
        }
      )
    }
    #expect(Set(places).count == 20_000 && index.count == 20_000)
    #expect(index.byteCount < 20_000 * 150)
    for number in stride(from: 0, to: 20_000, by: 2) {
      var found: [Int32] = []
      Array("key/\(number)".utf8).withUnsafeBytes { key in
        index.forEachSpan(holding: key) { found.append($0) }
      }
      #expect(found.first == places[number])
    }
    for place in places { index.remove(place) }
    #expect(index.count == 0)
  }

  private func bytes(_ random: inout SeededGenerator) -> [UInt8] {
    (0..<(1 + random.below(3))).map { _ in [0, 97, 98, 255][random.below(4)] }
  }

  private func end(_ random: inout SeededGenerator, after key: [UInt8]) -> [UInt8] {
    switch random.below(4) {
    case 0: return []
    case 1: return [0]
    default:
      let end = bytes(&random)
      return key.lexicographicallyPrecedes(end) ? end : key + [0]
    }
  }

  private static func contains(_ span: (key: [UInt8], end: [UInt8]), _ key: [UInt8]) -> Bool {
    if span.end.isEmpty { return span.key == key }
    if key.lexicographicallyPrecedes(span.key) { return false }
    return span.end == [0] || key.lexicographicallyPrecedes(span.end)
  }
}

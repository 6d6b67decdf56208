import Base
import MVCC
import Testing

/// What the index should say, by the simplest means: every key's changes in a sorted array.
private struct NaiveIndex {
  struct Entry {
    var key: [UInt8]
    var changes: [KeyChange]
    var isLive: Bool { changes.last?.isTombstone == false }

    func change(at revision: Int64) -> KeyChange? {
      guard let change = changes.last(where: { $0.main <= revision }), !change.isTombstone else {
        return nil
      }
      return change
    }
  }

  var entries: [Entry] = []

  func position(_ key: [UInt8]) -> Int {
    entries.firstIndex { !$0.key.lexicographicallyPrecedes(key) } ?? entries.count
  }

  mutating func append(_ key: [UInt8], _ change: KeyChange) {
    let place = position(key)
    if place < entries.count && entries[place].key == key {
      entries[place].changes.append(change)
    } else {
      entries.insert(Entry(key: key, changes: [change]), at: place)
    }
  }

  /// Returns what it drops.
  mutating func compact(at revision: Int64) -> [ChangeRevision] {
    var dropped: [ChangeRevision] = []
    for index in entries.indices {
      guard let keep = entries[index].changes.lastIndex(where: { $0.main <= revision }) else {
        continue
      }
      let kept = entries[index].changes[keep]
      let drop = kept.isTombstone && kept.main < revision ? keep + 1 : keep
      dropped += entries[index].changes.prefix(drop).map {
        ChangeRevision(main: $0.main, sub: Int64($0.sub))
      }
      entries[index].changes.removeFirst(drop)
    }
    entries.removeAll { $0.changes.isEmpty }
    return dropped
  }

  func keys(from key: [UInt8], to end: [UInt8], at revision: Int64) -> [[UInt8]] {
    entries.filter {
      guard $0.change(at: revision) != nil else { return false }
      if end.isEmpty { return $0.key == key }
      if $0.key.lexicographicallyPrecedes(key) { return false }
      return end == [0] || $0.key.lexicographicallyPrecedes(end)
    }.map(\.key)
  }
}

private func withSpan<Result>(
  _ key: [UInt8],
  _ end: [UInt8],
  _ body: (KeySpan) -> Result
) -> Result {
  key.withUnsafeBytes { keyBytes in
    end.withUnsafeBytes { endBytes in body(KeySpan(key: keyBytes, rangeEnd: endBytes)) }
  }
}

/// Keys that share prefixes of several lengths, hold zero bytes and are prefixes of each other.
private func randomKey(_ random: inout SeededGenerator, spread: Int) -> [UInt8] {
  let prefixes: [[UInt8]] = [
    [], Array("/registry/".utf8), Array("/registry/pods/ns-".utf8), [0, 0],
  ]
  var key = prefixes[random.below(prefixes.count)]
  for _ in 0..<random.below(10) { key.append(UInt8(random.below(spread))) }
  if random.oneIn(50) { key += [UInt8](repeating: 7, count: 1 + random.below(1500)) }
  return key.isEmpty ? [1] : key
}

@Suite struct KeyIndexTests {
  @Test(arguments: 1...6)
  func agreesWithNaiveArray(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let index = KeyIndex()
    var naive = NaiveIndex()
    let spread = [2, 4, 256][Int(seed) % 3]
    var main: Int64 = 1
    var compacted: Int64 = 0
    let rounds = seed.isMultiple(of: 2) ? 6000 : 1500
    for round in 0..<rounds {
      main += 1
      var sub: UInt32 = 0
      for _ in 0..<(1 + random.below(2)) {
        let key = randomKey(&random, spread: spread)
        let isLive = index.change(ofArray: key, at: .max) != nil
        let isDelete = isLive && random.oneIn(3)
        let change = KeyChange(main: main, sub: sub, isTombstone: isDelete)
        sub += 1
        if isDelete {
          _ = key.withUnsafeBytes { index.delete($0, main: main, sub: change.sub) }
        } else {
          _ = key.withUnsafeBytes { index.put($0, main: main, sub: change.sub, hasLease: false) }
        }
        naive.append(key, change)
      }
      if random.oneIn(400) {
        compacted = max(compacted, main - Int64(random.below(300)))
        var cursor: CompactionCursor?
        var dropped: [ChangeRevision] = []
        repeat {
          cursor = index.compactStep(
            at: compacted,
            from: cursor,
            workMax: 1 + random.below(40),
            into: &dropped
          )
          if rounds < 2000 { try #require(index.brokenInvariant() == nil, "seed \(seed)") }
        } while cursor != nil
        #expect(dropped.sorted() == naive.compact(at: compacted).sorted(), "seed \(seed)")
      }
      if random.oneIn(rounds < 2000 ? 3 : 300) {
        let problem = index.brokenInvariant()
        try #require(problem == nil, "seed \(seed) round \(round): \(problem ?? "")")
        try compare(index, naive, &random, spread, main, compacted, "seed \(seed) round \(round)")
      }
    }
    #expect(index.keyCount == naive.entries.count)
    for entry in naive.entries {
      let changes = entry.key.withUnsafeBytes { index.changes(of: $0) }
      #expect(changes == entry.changes, "seed \(seed)")
    }
  }

  private func compare(
    _ index: KeyIndex,
    _ naive: NaiveIndex,
    _ random: inout SeededGenerator,
    _ spread: Int,
    _ main: Int64,
    _ compacted: Int64,
    _ note: String
  ) throws {
    try #require(index.liveCount == naive.entries.count { $0.isLive }, "\(note)")
    let key = randomKey(&random, spread: spread)
    let ends: [[UInt8]] = [[], [0], randomKey(&random, spread: spread), key]
    let end = ends[random.below(ends.count)]
    let now = withSpan(key, end) { index.keys(in: $0, at: main) }
    try #require(now == naive.keys(from: key, to: end, at: main), "\(note)")
    try #require(withSpan(key, end) { index.liveCount(in: $0) } == now.count, "\(note)")
    let old = compacted + Int64(random.below(Int(main - compacted) + 1))
    let then = withSpan(key, end) { index.keys(in: $0, at: old) }
    try #require(then == naive.keys(from: key, to: end, at: old), "\(note)")
  }

  /// Everything deleted and compacted away leaves an empty tree that works again.
  @Test func emptiesAndRefills() {
    let index = KeyIndex()
    for turn in 0..<3 {
      let base = Int64(turn * 100_000 + 2)
      for number in 0..<20_000 {
        _ = withKey(number &* 7919 % 20_000) {
          index.put($0, main: base + Int64(number), sub: 0, hasLease: false)
        }
      }
      #expect(index.liveCount == 20_000)
      #expect(index.height >= 3)
      for number in 0..<20_000 {
        _ = withKey(number) { index.delete($0, main: base + 50_000, sub: UInt32(number)) }
      }
      #expect(index.brokenInvariant() == nil)
      #expect(compactAll(index, at: base + 50_001) == 40_000)
      #expect(index.keyCount == 0)
      #expect(index.height == 1)
      #expect(index.brokenInvariant() == nil)
    }
  }

  /// A tombstone at the compacted revision itself stays for one more compaction.
  @Test func keepsTombstoneAtCompactedRevision() {
    let index = KeyIndex()
    _ = withKey(1) { index.put($0, main: 2, sub: 0, hasLease: false) }
    _ = withKey(1) { index.delete($0, main: 3, sub: 0) }
    #expect(compactAll(index, at: 3) == 1)
    let kept = withKey(1) { index.changes(of: $0) }
    #expect(kept == [KeyChange(main: 3, sub: 0, isTombstone: true)])
    #expect(compactAll(index, at: 4) == 1)
    #expect(index.keyCount == 0)
  }

  /// Many changes of one key: found by revision, dropped by compaction.
  @Test func oneKeyWithManyChanges() {
    let index = KeyIndex()
    for main in 2...Int64(200_001) {
      _ = withKey(1) { index.put($0, main: main, sub: 0, hasLease: false) }
    }
    for main in stride(from: Int64(2), to: 200_001, by: 997) {
      #expect(withKey(1) { index.change(of: $0, at: main) }?.main == main)
    }
    #expect(compactAll(index, at: 199_999) == 199_997)
    #expect(withKey(1) { index.changes(of: $0) }.map(\.main) == [199_999, 200_000, 200_001])
  }

  /// Compacts to the end in steps and returns how many changes went.
  private func compactAll(_ index: KeyIndex, at revision: Int64) -> Int {
    var cursor: CompactionCursor?
    var dropped: [ChangeRevision] = []
    repeat {
      let before = dropped.count
      cursor = index.compactStep(at: revision, from: cursor, workMax: 1000, into: &dropped)
      #expect(dropped.count - before <= 2000)
    } while cursor != nil
    return dropped.count
  }

  private func withKey<Result>(
    _ number: Int,
    _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result {
    withUnsafeBytes(of: UInt64(number).bigEndian, body)
  }
}

extension KeyIndex {
  fileprivate func change(ofArray key: [UInt8], at revision: Int64) -> KeyChange? {
    key.withUnsafeBytes { change(of: $0, at: revision) }
  }
}

import Base
import MVCC
import Proto
import Storage
import Testing

/// A request as the log holds it.
private enum Entry {
  case put(Pb.PutRequest)
  case delete(Pb.DeleteRangeRequest)
  case txn(Pb.TxnRequest)
  case compact(Int64)

  func apply(to harness: StoreHarness) throws {
    do {
      switch self {
      case .put(let request): _ = try harness.put(request)
      case .delete(let request): _ = try harness.delete(request)
      case .txn(let request): _ = try harness.txn(request)
      case .compact(let revision): try harness.compact(revision)
      }
    } catch is StoreError {
      // Refused: the same way in every run.
    }
  }
}

@Suite struct StoreRestartTests {
  /// P1, P2, R5: killed at any point and replayed from what was durable, the store is that of a
  /// run without a crash.
  @Test(arguments: 1...10)
  func crashesDoNotShow(seed: UInt64) throws {
    var generator = RequestGenerator(random: SeededGenerator(seed: seed))
    var log: [Entry] = []
    let reference = try StoreHarness()
    var hashes: [UInt32] = [reference.store.stateHash]
    for _ in 0..<250 {
      generator.current = reference.store.currentRevision.rawValue
      let entry = try randomEntry(&generator, reference)
      try entry.apply(to: reference)
      log.append(entry)
      hashes.append(reference.store.stateHash)
    }

    let disk = MemoryDisk()
    var applied = 0
    for life in 0..<12 {
      let harness = try StoreHarness(disk: disk)
      let stored = try harness.storage.metadata("applied")
      applied = stored.map { Int(String(decoding: $0, as: UTF8.self)) ?? -1 } ?? 0
      let note: Testing.Comment = "seed \(seed) life \(life) from \(applied)"
      try #require(harness.store.stateHash == hashes[applied], note)
      let stop = life == 11 ? log.count : min(log.count, applied + generator.random.below(60))
      while applied < stop {
        try log[applied].apply(to: harness)
        applied += 1
        try #require(harness.store.stateHash == hashes[applied], note)
        if generator.random.oneIn(9) || harness.store.wantsFlush {
          try flush(harness, applied: applied)
        }
        if generator.random.oneIn(3) { _ = try harness.store.compactionStep(limit: 5) }
      }
      if life == 11 { try compare(harness, reference, note) }
    }
  }

  private func randomEntry(
    _ generator: inout RequestGenerator,
    _ reference: StoreHarness
  ) throws -> Entry {
    switch generator.random.below(12) {
    case 0..<5: return .put(generator.put())
    case 5..<7: return .delete(generator.delete())
    case 7: return .compact(generator.current - Int64(generator.random.below(20)))
    default:
      let request = generator.txn()
      do {
        try reference.check(request)
        return .txn(request)
      } catch {
        return .put(generator.put())
      }
    }
  }

  private func flush(_ harness: StoreHarness, applied: Int) throws {
    let metadata: MetadataChanges = [(key: "applied", value: Array("\(applied)".utf8))]
    guard let job = harness.store.seal(metadata: metadata) else { return }
    try job.run()
    harness.store.finish(job)
  }

  private func compare(
    _ harness: StoreHarness,
    _ reference: StoreHarness,
    _ note: Testing.Comment
  ) throws {
    #expect(harness.store.currentRevision == reference.store.currentRevision, note)
    #expect(harness.store.compactedRevision == reference.store.compactedRevision, note)
    for _ in 0..<2 {
      let all = Pb.RangeRequest(key: [0], rangeEnd: [0])
      for revision in max(
        0,
        reference.store.compactedRevision.rawValue
      )...reference.store.currentRevision.rawValue {
        var request = all
        request.revision = revision
        #expect(try harness.range(request) == reference.range(request), note)
        let got = try Outcome { try harness.hashKV(revision) }
        let expected = try Outcome { try reference.hashKV(revision) }
        #expect(got == expected, note)
      }
      try harness.finishCompaction()
    }
  }

  /// A store whose keys are all deleted and compacted away keeps its revision.
  @Test func revisionSurvivesCompactionOfEverything() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    try harness.delete("a")
    try harness.put("b", "1")
    try harness.delete("b")
    try harness.compact(5)
    try harness.finishCompaction()
    try harness.flush()
    let again = try StoreHarness(disk: harness.disk)
    #expect(again.store.currentRevision == Revision(5))
    #expect(again.store.compactedRevision == Revision(5))
    #expect(try again.put("a", "2").header?.revision == 6)
  }

  /// R6: the delete at the compacted revision stays stored; the next compaction takes it.
  @Test func tombstoneAtTheCompactedRevisionStaysStored() throws {
    let harness = try StoreHarness()
    try harness.put("a", "1")
    try harness.delete("a")
    try harness.put("b", "1")
    let stored = {
      var revisions: [ChangeRevision] = []
      try harness.storage.base.scanAll { revision, _, _ in
        revisions.append(revision)
        return true
      }
      return revisions.map(\.main)
    }
    try harness.compact(3)
    try harness.finishCompaction()
    #expect(try stored() == [3, 4])
    try harness.compact(4)
    try harness.finishCompaction()
    #expect(try stored() == [4])
  }

  /// A read in several parts holds the compaction up until it is done or given up.
  @Test func compactionWaitsForPinnedReads() throws {
    let harness = try StoreHarness()
    for number in 0..<100 { try harness.put("k\(number % 10)", "v\(number)") }
    let request = Pb.RangeRequest(key: [0], rangeEnd: [0], revision: 50)
    let expected = try harness.range(request).kvs
    let cursor = try harness.cursor(request)
    var found = try harness.next(cursor, bytesMax: 1).0.kvs
    try harness.compact(101)
    for _ in 0..<50 { #expect(try harness.store.compactionStep(limit: 10)) }
    #expect(throws: StoreError.compacted) { try harness.range(request) }
    var hasMore = true
    while hasMore {
      let part = try harness.next(cursor, bytesMax: 1)
      found += part.0.kvs
      hasMore = part.1
    }
    #expect(found == expected)
    try harness.finishCompaction()
    #expect(harness.store.statistics.compactedKeys == 90)
  }
}

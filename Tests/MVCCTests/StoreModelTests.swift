import Base
import MVCC
import Proto
import Testing

/// CRC32C a bit at a time: slow, and independent of the code under test.
func naiveCRC32C(_ bytes: [UInt8]) -> UInt32 {
  var crc: UInt32 = .max
  for byte in bytes {
    crc ^= UInt32(byte)
    for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
  }
  return ~crc
}

/// Random requests over few short keys, so that everything meets everything.
struct RequestGenerator {
  var random: SeededGenerator
  var current: Int64 = 1

  mutating func key() -> [UInt8] {
    let alphabet: [UInt8] = [0, 97, 98]

    var key: [UInt8] = []
    for _ in 0..<(1 + random.below(3)) { key.append(alphabet[random.below(3)]) }
    return key
  }

  mutating func end(_ key: [UInt8]) -> [UInt8] {
    switch random.below(5) {
    case 0, 1: return []
    case 2: return [0]
    case 3: return self.key()
    default: return [255]
    }
  }

  mutating func value() -> [UInt8] {
    let sizes = [0, 1, 1, 2, 5, 200]
    return (0..<sizes[random.below(sizes.count)]).map { _ in UInt8(random.below(3)) }
  }

  mutating func revision() -> Int64 {
    switch random.below(4) {
    case 0: return Int64(random.below(Int(current) + 3)) - 1
    case 1: return max(0, current - Int64(random.below(4)))
    default: return 0
    }
  }

  mutating func put() -> Pb.PutRequest {
    let ignoreValue = random.oneIn(6)
    return Pb.PutRequest(
      key: key(),
      value: ignoreValue ? [] : value(),
      lease: random.oneIn(40) ? 5 : 0,
      prevKV: random.oneIn(2),
      ignoreValue: ignoreValue,
      ignoreLease: false
    )
  }

  mutating func delete() -> Pb.DeleteRangeRequest {
    let key = key()
    return Pb.DeleteRangeRequest(key: key, rangeEnd: end(key), prevKV: random.oneIn(2))
  }

  mutating func range() -> Pb.RangeRequest {
    let key = key()
    var request = Pb.RangeRequest(key: key, rangeEnd: end(key))
    request.revision = revision()
    if random.oneIn(2) { request.limit = Int64(random.below(6)) - 1 }
    if random.oneIn(3) {
      request.sortOrder = Pb.RangeRequest.SortOrder(rawValue: Int32(random.below(3)))
      request.sortTarget = Pb.RangeRequest.SortTarget(rawValue: Int32(random.below(5)))
    }
    request.keysOnly = random.oneIn(5)
    request.countOnly = random.oneIn(8)
    if random.oneIn(6) { request.minModRevision = revision() }
    if random.oneIn(6) { request.maxModRevision = revision() }
    if random.oneIn(6) { request.minCreateRevision = revision() }
    if random.oneIn(6) { request.maxCreateRevision = revision() }
    return request
  }

  mutating func compare() -> Pb.Compare {
    let key = key()
    var compare = Pb.Compare(key: key, rangeEnd: random.oneIn(3) ? end(key) : [])
    compare.result = Pb.Compare.CompareResult(
      rawValue: Int32(random.below(random.oneIn(9) ? 6 : 4))
    )
    compare.target = Pb.Compare.CompareTarget(
      rawValue: Int32(random.below(random.oneIn(9) ? 7 : 5))
    )
    switch random.oneIn(6) ? random.below(6) : Int(compare.target.rawValue) {
    case 0: compare.targetUnion = .version(Int64(random.below(4)))
    case 1: compare.targetUnion = .createRevision(Int64(random.below(Int(current) + 1)))
    case 2: compare.targetUnion = .modRevision(Int64(random.below(Int(current) + 1)))
    case 3: compare.targetUnion = .value(value())
    case 4: compare.targetUnion = .lease(Int64(random.below(2)))
    default: break
    }
    return compare
  }

  mutating func txn(depth: Int = 0, readOnly: Bool = false) -> Pb.TxnRequest {
    var request = Pb.TxnRequest()
    for _ in 0..<random.below(3) { request.compare.append(compare()) }
    for _ in 0..<random.below(4) {
      request.success.append(operation(depth: depth, readOnly: readOnly))
    }
    for _ in 0..<random.below(4) {
      request.failure.append(operation(depth: depth, readOnly: readOnly))
    }
    return request
  }

  private mutating func operation(depth: Int, readOnly: Bool) -> Pb.RequestOp {
    if random.oneIn(4) && depth < 3 {
      return Pb.RequestOp(request: .requestTxn(txn(depth: depth + 1, readOnly: readOnly)))
    }
    if readOnly || random.oneIn(3) { return Pb.RequestOp(request: .requestRange(range())) }
    return random.oneIn(3)
      ? Pb.RequestOp(request: .requestDeleteRange(delete()))
      : Pb.RequestOp(request: .requestPut(put()))
  }
}

/// What a call gave: its answer, or the error it threw.
enum Outcome<Answer: Equatable>: Equatable {
  case answer(Answer)
  case failure(StoreError)

  init(_ body: () throws -> Answer) throws {
    do {
      self = .answer(try body())
    } catch let error as StoreError {
      self = .failure(error)
    }
  }
}

@Suite struct StoreModelTests {
  /// The store against the naive one: every answer, every error, every hash.
  @Test(arguments: 1...12)
  func agreesWithNaiveStore(seed: UInt64) throws {
    var generator = RequestGenerator(random: SeededGenerator(seed: seed))
    var harness = try StoreHarness()
    var naive = NaiveStore()
    for round in 0..<400 {
      let note: Testing.Comment = "seed \(seed) round \(round)"
      generator.current = naive.current
      switch generator.random.below(20) {
      case 0..<7:
        let request = generator.put()
        let got = try Outcome { try harness.put(request) }
        let expected = try Outcome { try naive.apply(request) }
        try #require(got == expected, note)
      case 7..<9:
        let request = generator.delete()
        try #require(try harness.delete(request) == naive.apply(request), note)
      case 9..<14:
        let request = generator.txn()
        do {
          try harness.check(request)
        } catch {
          continue
        }
        let got = try Outcome { try harness.txn(request) }
        let expected = try Outcome { try naive.apply(request) }
        try #require(got == expected, note)
      case 14:
        let request = generator.txn(readOnly: true)
        try #require(try harness.isReadOnly(request), note)
        let read = try Outcome { try harness.txn(request, readOnly: true) }
        let expected = try Outcome { try naive.apply(request) }
        try #require(read == expected, note)
        let written = try Outcome { try harness.txn(request) }
        try #require(written == expected, note)
      case 15 where generator.random.oneIn(3):
        let revision = naive.current - Int64(generator.random.below(30))
        let got = try Outcome {
          try harness.compact(revision)
          return true
        }
        let expected = try Outcome {
          try naive.compact(revision)
          return true
        }
        try #require(got == expected, note)
        if generator.random.oneIn(2) {
          try harness.finishCompaction(limit: 1 + generator.random.below(20))
        } else {
          for _ in 0..<generator.random.below(5) { _ = try harness.store.compactionStep(limit: 2) }
        }
      case 16: try harness.flush()
      case 17 where generator.random.oneIn(3): harness = try restart(harness, note)
      default: try compareReads(harness, naive, &generator, note)
      }
      try #require(harness.store.currentRevision.rawValue == naive.current, note)
      try #require(harness.store.compactedRevision.rawValue == naive.compacted, note)
    }
    try harness.finishCompaction()
    try compareHashes(harness, naive, "seed \(seed) at the end")
  }

  private func restart(_ old: StoreHarness, _ note: Testing.Comment) throws -> StoreHarness {
    try old.flush()
    let new = try StoreHarness(disk: old.disk)
    try #require(new.store.stateHash == old.store.stateHash, note)
    return new
  }

  private func compareReads(
    _ harness: StoreHarness,
    _ naive: NaiveStore,
    _ generator: inout RequestGenerator,
    _ note: Testing.Comment
  ) throws {
    for _ in 0..<8 {
      let request = generator.range()
      let header = StoreHarness.header(naive.current)
      let expected = try Outcome { try naive.range(request, header: header, now: naive.current) }
      let got = try Outcome { try harness.range(request) }
      try #require(got == expected, "\(note) \(request)")
      guard try harness.isStreamable(request) else { continue }
      let bytesMax = [1, 60, 400, 100_000][generator.random.below(4)]
      let streamed = try Outcome { try stream(harness, request, bytesMax, note) }
      try #require(streamed == expected, "\(note) \(request)")
      guard !request.countOnly else { continue }
      let pieced = try Outcome { try harness.pieces(request, bytesMax: bytesMax) }
      try #require(pieced == expected, "\(note) \(request)")
    }
    if generator.random.oneIn(3) { try compareHashes(harness, naive, note) }
  }

  /// Puts the messages of a stream together, checking that each keeps to the rules.
  private func stream(
    _ harness: StoreHarness,
    _ request: Pb.RangeRequest,
    _ bytesMax: Int,
    _ note: Testing.Comment
  ) throws -> Pb.RangeResponse {
    let cursor = try harness.cursor(request)
    var whole = Pb.RangeResponse()
    while true {
      let (part, hasMore) = try harness.next(cursor, bytesMax: bytesMax)
      if part.kvs.count > 1 {
        let pairs = Pb.RangeResponse(kvs: part.kvs)
        try #require(pairs.encodedSize <= bytesMax, note)
      }
      whole.kvs += part.kvs
      if hasMore {
        try #require(part.header == nil && part.count == 0 && !part.more, note)
        try #require(!part.kvs.isEmpty, note)
        continue
      }
      whole.header = part.header
      whole.count = part.count
      whole.more = part.more
      return whole
    }
  }

  private func compareHashes(
    _ harness: StoreHarness,
    _ naive: NaiveStore,
    _ note: Testing.Comment
  ) throws {
    for revision in max(1, naive.compacted - 1)...(naive.current + 1) {
      let got = try Outcome { try harness.hashKV(revision) }
      let expected = try Outcome { () throws -> RevisionHash in
        if revision <= naive.compacted { throw StoreError.compacted }
        if revision > naive.current { throw StoreError.futureRevision }
        return RevisionHash(
          hash: naiveCRC32C(naive.hashInput(upTo: revision)),
          compactRevision: Revision(naive.compacted),
          hashRevision: Revision(revision),
          currentRevision: Revision(naive.current)
        )
      }
      try #require(got == expected, "\(note) hash at \(revision)")
    }
  }
}

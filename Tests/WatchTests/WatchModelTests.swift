import MVCC
import Proto
import Testing
import Watch

/// Everything happens to everything, in random order; a naive model says what each watch must get.
@Suite struct WatchModelTests {
  @Test(arguments: 1...120) func randomInterleavings(seed: UInt64) throws {
    var run = try ModelRun(seed: seed)
    for _ in 0..<400 { try run.step() }
    try run.finish()
  }
}

/// One stream as the model knows it.
private struct ModelStream {
  let stream: WatchStream
  var watches: [Int64: ModelWatch] = [:]
  var ended: Set<Int64> = []
  var hasPendingProgress = false
}

/// One watch as the model knows it.
private struct ModelWatch {
  let request: Pb.WatchCreateRequest
  /// The first revision it is to get.
  let start: Int64
  var received: [Mvccpb.Event] = []
  /// The revision up to which it surely got everything, by what it was sent.
  var lastRevision: Int64 = 0

  func wants(_ event: Mvccpb.Event) -> Bool {
    guard let pair = event.kv, pair.modRevision >= start else { return false }
    if request.filters.contains(event.type == .delete ? .nodelete : .noput) { return false }
    if request.rangeEnd.isEmpty { return pair.key == request.key }
    if pair.key.lexicographicallyPrecedes(request.key) { return false }
    return request.rangeEnd == [0] || pair.key.lexicographicallyPrecedes(request.rangeEnd)
  }
}

private struct ModelRun {
  let seed: UInt64
  var random: SeededGenerator
  let harness: WatchHarness
  var streams: [ModelStream] = []
  /// All events ever, each with the pair that was there before.
  var history: [(event: Mvccpb.Event, previous: Mvccpb.KeyValue?)] = []
  var pairs: [[UInt8]: Mvccpb.KeyValue] = [:]
  var compacted: Int64 = 0
  var blocks: [EventBlock] = []
  var scan: EventScan?
  var outcome: EventScan.Outcome?

  init(seed: UInt64) throws {
    self.seed = seed
    random = SeededGenerator(seed: seed)
    var limits = WatchLimits()
    limits.responseBytes = [1, 100, 2000][random.below(3)]
    limits.fragmentBytesMax = 80
    limits.recentBytesMax = [0, 1000, 100_000][random.below(3)]
    harness = try WatchHarness(limits: limits)
  }

  mutating func step() throws {
    switch random.below(24) {
    case 0..<7: try write()
    case 7: try compact()
    case 8, 9: create()
    case 10: cancel()
    case 11: if streams.count < 4 { streams.append(ModelStream(stream: harness.open())) }
    case 12: if random.oneIn(4) { close() }
    case 13, 14: stall()
    case 15: requestProgress()
    case 16: harness.hub.notifyIdle()
    case 17, 18: takeBlock()
    case 19, 20: deliver()
    case 21: loseBlocks()
    default: work()
    }
    try receive()
  }

  // MARK: Steps

  private mutating func key() -> String { ["a", "b", "c", "d"][random.below(4)] }

  private mutating func write() throws {
    let before = harness.current
    switch random.below(4) {
    case 0:
      let (key, end) = (key(), random.oneIn(3) ? "z" : "")
      try harness.delete(key, end)
      if harness.current > before { noteDeletes(key, end, harness.current) }
    case 1:
      let first = key()
      var second = key()
      while second == first { second = key() }
      let value = "t\(before)"
      try harness.txn([.put(first, value), .delete(second)])
      notePut(first, value, harness.current)
      noteDeletes(second, "", harness.current)
    default:
      let (key, value) = (key(), String(repeating: "v", count: random.below(60)))
      try harness.put(key, value)
      notePut(key, value, harness.current)
    }
  }

  private mutating func notePut(_ key: String, _ value: String, _ revision: Int64) {
    let bytes = Array(key.utf8)
    let old = pairs[bytes]
    let pair = Mvccpb.KeyValue(
      key: bytes,
      createRevision: old?.createRevision ?? revision,
      modRevision: revision,
      version: (old?.version ?? 0) + 1,
      value: Array(value.utf8)
    )
    pairs[bytes] = pair
    history.append((Mvccpb.Event(type: .put, kv: pair), old))
  }

  private mutating func noteDeletes(_ key: String, _ end: String, _ revision: Int64) {
    let low = Array(key.utf8)
    let doomed = pairs.keys.filter { candidate in
      end.isEmpty ? candidate == low : !candidate.lexicographicallyPrecedes(low)
    }
    for key in doomed.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      let old = pairs.removeValue(forKey: key)
      let pair = Mvccpb.KeyValue(key: key, modRevision: revision)
      history.append((Mvccpb.Event(type: .delete, kv: pair), old))
    }
  }

  private mutating func compact() throws {
    guard random.oneIn(3), harness.current > max(compacted, 1) else { return }
    let low = max(compacted, 1) + 1
    compacted = low + Int64(random.below(Int(harness.current - low) + 1))
    try harness.compact(compacted, isLazy: random.oneIn(2))
  }

  private mutating func create() {
    guard !streams.isEmpty else { return }
    let place = random.below(streams.count)
    var request = Pb.WatchCreateRequest(key: Array(key().utf8))
    if random.oneIn(2) { request.rangeEnd = random.oneIn(2) ? [0] : Array("dd".utf8) }
    switch random.below(4) {
    case 0: request.startRevision = 1 + Int64(random.below(Int(harness.current)))
    case 1: request.startRevision = harness.current + Int64(random.below(6))
    default: break
    }
    if random.oneIn(4) { request.filters = [random.oneIn(2) ? .noput : .nodelete] }
    request.prevKV = random.oneIn(3)
    request.fragment = random.oneIn(3)
    request.progressNotify = random.oneIn(2)
    var id = Int64(100 + random.below(1000))
    while streams[place].watches[id] != nil || streams[place].ended.contains(id) { id += 1 }
    request.watchID = id
    let start = request.startRevision > 0 ? request.startRevision : harness.current + 1
    streams[place].watches[id] = ModelWatch(request: request, start: start)
    harness.create(request, on: streams[place].stream)
  }

  private mutating func cancel() {
    guard let place = streams.indices.randomElement(using: &random),
      let id = streams[place].watches.keys.sorted().randomElement(using: &random)
    else { return }
    try? receive()
    guard streams[place].watches[id] != nil else { return }
    harness.hub.cancel(id, on: streams[place].stream)
    let arrived = harness.output.arrived[streams[place].stream.token] ?? []
    #expect(arrived.contains { $0.watchID == id && $0.canceled }, "seed \(seed)")
  }

  private mutating func close() {
    guard !streams.isEmpty else { return }
    let place = random.below(streams.count)
    harness.hub.closeStream(streams[place].stream)
    harness.output.awaited.remove(streams[place].stream.token)
    _ = harness.take(streams[place].stream)
    streams.remove(at: place)
  }

  private mutating func stall() {
    guard !streams.isEmpty else { return }
    let place = random.below(streams.count)
    harness.setRoom([0, 1, 2, nil][random.below(4)], streams[place].stream)
  }

  private mutating func requestProgress() {
    guard !streams.isEmpty else { return }
    let place = random.below(streams.count)
    streams[place].hasPendingProgress = true
    harness.hub.requestProgress(on: streams[place].stream)
  }

  private mutating func takeBlock() {
    if let block = harness.store.takeEvents() { blocks.append(block) }
  }

  private mutating func deliver() {
    if !blocks.isEmpty { harness.hub.deliver(blocks.removeFirst()) }
  }

  /// The feed was over its bound.
  private mutating func loseBlocks() {
    guard random.oneIn(4) else { return }
    takeBlock()
    if random.oneIn(2) {
      blocks = []
      harness.hub.loseTouch()
    } else if blocks.count > 1 {
      // The gap shows with the block that follows.
      blocks.removeFirst()
    }
  }

  /// A scan is asked for, made and brought back at different times.
  private mutating func work() {
    if let done = outcome {
      harness.hub.finish(done)
      outcome = nil
    } else if let asked = scan {
      outcome = harness.run(asked)
      scan = nil
    } else {
      scan = harness.hub.nextWork()
    }
  }

  // MARK: Checks

  private mutating func receive() throws {
    for place in streams.indices {
      let responses = harness.take(streams[place].stream)
      for response in responses { try check(response, place) }
    }
  }

  private mutating func check(_ response: Pb.WatchResponse, _ place: Int) throws {
    let revision = response.header?.revision ?? 0
    if response.watchID == -1 {
      #expect(streams[place].hasPendingProgress, "seed \(seed)")
      streams[place].hasPendingProgress = false
      for watch in streams[place].watches.values { checkProgress(watch, revision) }
      return
    }
    guard var watch = streams[place].watches[response.watchID] else {
      Issue.record("seed \(seed): \(response.text) for a watch that has ended")
      return
    }
    if response.created { return }
    if response.canceled {
      if response.compactRevision != 0 {
        // Whoever comes back for what follows the last event would be refused as well.
        let next = watch.received.last?.kv.map { $0.modRevision + 1 } ?? watch.start
        #expect(response.compactRevision <= compacted, "seed \(seed)")
        #expect(next < response.compactRevision, "seed \(seed)")
      }
      streams[place].watches[response.watchID] = nil
      streams[place].ended.insert(response.watchID)
      return
    }
    if response.events.isEmpty {
      checkProgress(watch, revision)
      return
    }
    for event in response.events { try check(event, &watch) }
    checkWholeRevisions(response, watch)
    streams[place].watches[response.watchID] = watch
  }

  private func missing(
    _ watch: ModelWatch
  ) -> ArraySlice<
    (event: Mvccpb.Event, previous: Mvccpb.KeyValue?)
  > {
    history.filter { watch.wants($0.event) }.dropFirst(watch.received.count)
  }

  /// Exactly the next event that the watch is to get.
  private func check(_ event: Mvccpb.Event, _ watch: inout ModelWatch) throws {
    let expected = try #require(missing(watch).first, "seed \(seed): \(event.text) is too much")
    #expect(
      event.type == expected.event.type && event.kv == expected.event.kv,
      "seed \(seed): \(event.text) instead of \(expected.event.text)"
    )
    if let previous = event.prevKV {
      #expect(watch.request.prevKV && previous == expected.previous, "seed \(seed)")
    } else if watch.request.prevKV, expected.previous != nil {
      #expect((event.kv?.modRevision ?? 0) - 1 < compacted, "seed \(seed): no previous pair")
    }
    watch.received.append(expected.event)
  }

  /// After a response that is not a fragment nothing of its last revision is missing.
  private func checkWholeRevisions(_ response: Pb.WatchResponse, _ watch: ModelWatch) {
    guard !response.fragment else {
      #expect(watch.request.fragment, "seed \(seed)")
      return
    }
    let last = response.events.last?.kv?.modRevision
    let next = missing(watch).first?.event.kv?.modRevision
    #expect(next == nil || next != last, "seed \(seed): revision \(last ?? 0) is parted")
  }

  /// R1, R9: everything up to the revision was sent, and the watch has begun.
  private func checkProgress(_ watch: ModelWatch, _ revision: Int64) {
    let next = missing(watch).first?.event.kv?.modRevision ?? .max
    #expect(next > revision, "seed \(seed): progress \(revision) before the event at \(next)")
    if watch.request.startRevision > 0 {
      #expect(watch.start <= revision, "seed \(seed): progress \(revision) before the start")
    }
  }

  /// In the end everybody reads, and then nobody lacks anything.
  mutating func finish() throws {
    for stream in streams { harness.setRoom(nil, stream.stream) }
    takeBlock()
    while !blocks.isEmpty { deliver() }
    for _ in 0..<10_000 {
      let wasIdle = scan == nil && outcome == nil
      work()
      if wasIdle && scan == nil { break }
    }
    try receive()
    #expect(harness.hub.counts.slowWatches == 0, "seed \(seed)")
    var total = 0
    for stream in streams {
      total += stream.watches.count
      for (id, watch) in stream.watches.sorted(by: { $0.key < $1.key }) {
        let lost = missing(watch)
        #expect(lost.isEmpty, "seed \(seed), watch \(id): \(lost.map(\.event.text)) never came")
      }
    }
    #expect(harness.hub.counts.watches == total, "seed \(seed)")
    #expect(harness.hub.counts.streams == streams.count, "seed \(seed)")
  }
}

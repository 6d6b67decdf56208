import MVCC
import Proto
import Storage
import Testing
import Watch

@Suite struct WatchHubTests {
  @Test func idsEventsAndCancels() throws {
    let harness = try WatchHarness()
    let stream = harness.open()
    harness.create("a", on: stream)
    harness.create("a", "c", on: stream)
    harness.create(Pb.WatchCreateRequest(key: [98], watchID: 2), on: stream)
    harness.create(Pb.WatchCreateRequest(key: [98], watchID: 2), on: stream)
    harness.create("x", on: stream)
    #expect(
      harness.texts(stream) == [
        "0 rev 1 created", "1 rev 1 created", "2 rev 1 created",
        "-1 rev 1 created canceled (mvcc: duplicate watch ID provided on the WatchStream)",
        "3 rev 1 created",
      ]
    )
    try harness.put("a", "1")
    try harness.put("b", "2")
    try harness.delete("a")
    harness.pump()
    #expect(
      harness.texts(stream).sorted() == ["0: 2 a=1 4 -a", "1: 2 a=1 3 b=2 4 -a", "2: 3 b=2"]
    )
    harness.hub.cancel(1, on: stream)
    harness.hub.cancel(1, on: stream)
    harness.hub.cancel(77, on: stream)
    #expect(harness.texts(stream) == ["1 rev 4 canceled"])
    try harness.put("b", "3")
    harness.pump()
    #expect(harness.texts(stream) == ["2: 5 b=3"])
    #expect(harness.hub.counts.watches == 3)
    harness.hub.closeStream(stream)
    #expect(harness.hub.counts.watches == 0 && !harness.hub.isActive)
  }

  @Test func refusals() throws {
    let harness = try WatchHarness()
    let stream = harness.open()
    harness.create("b", "a", on: stream)
    harness.create("b", "b", on: stream)
    harness.create("b", from: -1, on: stream)
    let compacted = "(etcdserver: mvcc: required revision has been compacted)"
    #expect(
      harness.texts(stream) == [
        "-1 rev 1 created canceled (mvcc: watcher range is empty)",
        "-1 rev 1 created canceled (mvcc: watcher range is empty)",
        "-1 rev 1 created canceled compacted 1 \(compacted)",
      ]
    )
    #expect(harness.hub.counts.watches == 0)
  }

  @Test func boundOfWatches() throws {
    var limits = WatchLimits()
    limits.watchesMax = 2
    var harness = try WatchHarness(limits: limits)
    var stream = harness.open()
    for key in ["a", "b", "c"] { harness.create(key, on: stream) }
    #expect(
      harness.texts(stream).last == "-1 rev 1 created canceled (etcdserver: too many requests)"
    )
    harness.hub.cancel(0, on: stream)
    harness.create("d", on: stream)
    #expect(harness.texts(stream).last == "2 rev 1 created")
    limits = WatchLimits()
    limits.watchBytesMax = 100_000
    harness = try WatchHarness(limits: limits)
    stream = harness.open()
    for number in 0..<2000 { harness.create("key-\(number)", on: stream) }
    #expect((300..<1000).contains(harness.hub.counts.watches))
  }

  /// J2: 0 means after the revision of the `created` reply; N > 0 everything from N on.
  @Test func startRevisions() throws {
    let harness = try WatchHarness()
    for number in 2...5 { try harness.put("a", "\(number)") }
    let stream = harness.open()
    harness.create("a", on: stream)
    // Written, but its block has not come yet: it lies before the reply all the same.
    try harness.put("a", "6")
    harness.create("a", on: stream)
    harness.create("a", from: 3, on: stream)
    harness.create("a", from: 6, on: stream)
    harness.create("a", from: 7, on: stream)
    harness.pump()
    try harness.put("a", "7")
    harness.pump()
    let texts = harness.texts(stream)
    #expect(
      texts.filter { $0.contains("created") } == [
        "0 rev 5 created", "1 rev 6 created", "2 rev 6 created", "3 rev 6 created",
        "4 rev 6 created",
      ]
    )
    func events(_ id: Int) -> [String] { texts.filter { $0.hasPrefix("\(id):") } }
    #expect(events(0) == ["0: 6 a=6", "0: 7 a=7"])
    #expect(events(1) == ["1: 7 a=7"])
    #expect(events(2).joined().contains("3 a=3 4 a=4 5 a=5"))
    #expect(events(2).last == "2: 7 a=7")
    #expect(events(3) == ["3: 6 a=6", "3: 7 a=7"])
    #expect(events(4) == ["4: 7 a=7"])
  }

  /// J2: a start that is compacted away ends in an explicit cancel.
  @Test func compactedStart() throws {
    let harness = try WatchHarness()
    for number in 2...6 { try harness.put("a", "\(number)") }
    try harness.compact(5)
    let stream = harness.open()
    harness.create("a", from: 4, on: stream)
    harness.create("a", from: 5, on: stream)
    harness.pump()
    #expect(
      harness.texts(stream) == [
        "0 rev 6 created", "0 rev 6 canceled compacted 5", "1 rev 6 created",
        "1: 5 a=5 6 a=6",
      ]
    )
  }

  /// R1: progress at R is told only when everything up to R was sent on the stream.
  @Test func progressWaitsForEvents() throws {
    let harness = try WatchHarness()
    let stream = harness.open()
    harness.create("a", on: stream)
    harness.hub.requestProgress(on: stream)
    #expect(harness.texts(stream) == ["0 rev 1 created", "-1 rev 1"])
    // Applied, but not here yet.
    try harness.put("a", "1")
    harness.hub.requestProgress(on: stream)
    #expect(harness.texts(stream).isEmpty)
    harness.pump()
    #expect(harness.texts(stream) == ["0: 2 a=1", "-1 rev 2"])
    // The stream takes no more: the event and then the progress come when it does.
    harness.setRoom(0, stream)
    try harness.put("a", "2")
    harness.pump()
    harness.hub.requestProgress(on: stream)
    #expect(harness.texts(stream).isEmpty && harness.hub.counts.slowWatches == 1)
    harness.setRoom(1, stream)
    harness.settle()
    #expect(harness.texts(stream) == ["0: 3 a=2"])
    harness.setRoom(nil, stream)
    harness.settle()
    #expect(harness.texts(stream) == ["-1 rev 3"])
    #expect(harness.hub.counts.slowWatches == 0)
  }

  /// R1: a watch that reads the past holds the stream's progress up.
  @Test func progressWaitsForThePast() throws {
    let harness = try WatchHarness()
    for number in 2...6 { try harness.put("a", "\(number)") }
    let stream = harness.open()
    harness.create("b", on: stream)
    harness.create("a", from: 2, on: stream)
    harness.hub.requestProgress(on: stream)
    let scan = try #require(harness.hub.nextWork())
    #expect(harness.texts(stream).count == 2)
    harness.hub.finish(harness.run(scan))
    #expect(harness.texts(stream) == ["1: 2 a=2 3 a=3 4 a=4 5 a=5 6 a=6", "-1 rev 6"])
  }

  /// R9: a watch in the future gets nothing older, neither events nor notifications.
  @Test func futureStart() throws {
    let harness = try WatchHarness()
    let stream = harness.open()
    harness.create(
      Pb.WatchCreateRequest(key: [97], startRevision: 5, progressNotify: true),
      on: stream
    )
    harness.hub.requestProgress(on: stream)
    for number in 2...4 {
      try harness.put("a", "\(number)")
      harness.pump()
      for _ in 0..<WatchHub.phaseCount { harness.hub.notifyIdle() }
    }
    #expect(harness.texts(stream) == ["0 rev 1 created"])
    try harness.put("a", "5")
    harness.pump()
    #expect(harness.texts(stream) == ["0: 5 a=5", "-1 rev 5"])
  }

  @Test func idleWatchesAreToldOfProgress() throws {
    let harness = try WatchHarness()
    let stream = harness.open()
    harness.create(Pb.WatchCreateRequest(key: [97], progressNotify: true), on: stream)
    harness.create("a", on: stream)
    _ = harness.take(stream)
    func interval() -> [String] {
      for _ in 0..<WatchHub.phaseCount { harness.hub.notifyIdle() }
      return harness.texts(stream)
    }
    #expect(interval() == ["0 rev 1"])
    try harness.put("a", "1")
    harness.pump()
    _ = harness.take(stream)
    #expect(interval().isEmpty)
    try harness.put("b", "1")
    harness.pump()
    #expect(interval() == ["0 rev 3"])
    // One that is behind is told nothing.
    harness.setRoom(0, stream)
    try harness.put("a", "2")
    harness.pump()
    #expect(interval().isEmpty)
    harness.setRoom(nil, stream)
    #expect(interval().isEmpty && harness.hub.counts.slowWatches == 2)
    harness.settle()
    #expect(harness.texts(stream) == ["0: 4 a=2", "1: 4 a=2"].reversed())
  }

  /// R2, R3, R4: a stream that takes one response now and then gets every event once, in order.
  @Test(arguments: [0, 1 << 20]) func slowStream(recentBytes: Int) throws {
    var limits = WatchLimits()
    limits.recentBytesMax = recentBytes
    limits.responseBytes = 64
    let harness = try WatchHarness(limits: limits)
    let slow = harness.open()
    let fast = harness.open()
    harness.create("a", on: slow)
    harness.create("a", on: fast)
    _ = (harness.take(slow), harness.take(fast))
    var got: [String] = []
    for number in 2...200 {
      try harness.put("a", "\(number)")
      harness.setRoom(number % 3 == 0 ? 1 : 0, slow)
      harness.pump()
      got += harness.texts(slow)
      #expect(harness.texts(fast) == ["0: \(number) a=\(number)"])
    }
    harness.setRoom(nil, slow)
    harness.settle()
    got += harness.texts(slow)
    let values = got.joined(separator: " ").split(separator: " ").map(String.init)
    let events = values.filter { $0.hasPrefix("a=") }
    #expect(events == (2...200).map { "a=\($0)" })
    #expect(harness.hub.counts.slowWatches == 0)
  }

  /// R4: when compaction overtakes a slow stream its watch ends with the compacted revision.
  @Test func overtakenByCompaction() throws {
    var limits = WatchLimits()
    limits.recentBytesMax = 0
    let harness = try WatchHarness(limits: limits)
    let stream = harness.open()
    harness.create("a", on: stream)
    harness.create("b", on: stream)
    _ = harness.take(stream)
    harness.setRoom(0, stream)
    for number in 2...9 {
      try harness.put("a", "\(number)")
      harness.pump()
    }
    try harness.compact(7)
    harness.setRoom(nil, stream)
    harness.settle()
    #expect(harness.texts(stream) == ["0 rev 9 canceled compacted 7"])
    try harness.put("b", "1")
    harness.pump()
    #expect(harness.texts(stream) == ["1: 10 b=1"])
  }

  /// A compaction waits for a scan that began before it.
  @Test func compactionBesideAScan() throws {
    let harness = try WatchHarness()
    for number in 2...9 { try harness.put("a", "\(number)") }
    let stream = harness.open()
    harness.create("a", from: 3, on: stream)
    let scan = try #require(harness.hub.nextWork())
    try harness.compact(6)
    // It comes too late: what it needs is gone, and it says so rather than leave something out.
    harness.hub.finish(harness.run(scan))
    #expect(harness.texts(stream) == ["0 rev 9 created", "0 rev 9 canceled compacted 6"])
  }

  /// R5: after a restart from what was flushed, compaction included, the revision is not lower, and
  /// a watch gets what follows.
  @Test func restartAfterCompaction() throws {
    let disk = MemoryDisk()
    var harness = try WatchHarness(disk: disk)
    for number in 2...6 { try harness.put("a", "\(number)") }
    try harness.delete("a")
    try harness.compact(7)
    harness = try WatchHarness(disk: disk)
    #expect(harness.current == 7)
    let stream = harness.open()
    harness.create("a", from: 7, on: stream)
    try harness.put("a", "8")
    harness.pump()
    #expect(harness.texts(stream).joined(separator: " ") == "0 rev 7 created 0: 7 -a 8 a=8")
  }

  /// R6: the delete at the compacted revision is delivered to a watch opened there, also when the
  /// next compaction has not been.
  @Test func deleteAtTheCompactedRevision() throws {
    let harness = try WatchHarness()
    try harness.put("a", "2")
    try harness.put("b", "3")
    try harness.delete("a")
    try harness.compact(4)
    let stream = harness.open()
    harness.create("a", from: 4, on: stream)
    harness.pump()
    #expect(harness.texts(stream) == ["0 rev 4 created", "0: 4 -a"])
    try harness.put("c", "5")
    try harness.compact(5)
    harness.create("a", from: 5, on: stream)
    harness.pump()
    #expect(harness.texts(stream) == ["1 rev 5 created"])
  }

  /// All events of a revision come in one response, however long; with `fragment` in several.
  @Test func oneResponseARevision() throws {
    var limits = WatchLimits()
    limits.responseBytes = 500
    limits.fragmentBytesMax = 1000
    let harness = try WatchHarness(limits: limits)
    let stream = harness.open()
    harness.create("k", "l", on: stream)
    harness.create(
      Pb.WatchCreateRequest(key: [107], rangeEnd: [108], fragment: true),
      on: stream
    )
    _ = harness.take(stream)
    let value = String(repeating: "v", count: 200)
    try harness.txn((0..<20).map { .put("k\($0)", value) })
    try harness.put("k", "last")
    harness.pump()
    let responses = harness.take(stream)
    let whole = responses.filter { $0.watchID == 0 }
    #expect(whole.map(\.events.count) == [20, 1] && whole.allSatisfy { !$0.fragment })
    let parts = responses.filter { $0.watchID == 1 }
    #expect(parts.count > 4)
    #expect(parts.flatMap(\.events) == whole.flatMap(\.events))
    #expect(parts.dropLast(2).allSatisfy { $0.fragment && $0.encodedSize < 1100 })
    #expect(parts.suffix(2).allSatisfy { !$0.fragment })
  }

  @Test func filtersAndPreviousPairs() throws {
    let harness = try WatchHarness()
    try harness.put("a", "1")
    let stream = harness.open()
    harness.create(Pb.WatchCreateRequest(key: [97], filters: [.noput]), on: stream)
    harness.create(Pb.WatchCreateRequest(key: [97], filters: [.nodelete]), on: stream)
    harness.create(Pb.WatchCreateRequest(key: [97], filters: [.nodelete, .noput]), on: stream)
    harness.create(Pb.WatchCreateRequest(key: [97], prevKV: true), on: stream)
    _ = harness.take(stream)
    try harness.put("a", "2")
    try harness.delete("a")
    try harness.put("a", "3")
    harness.pump()
    #expect(
      harness.texts(stream).sorted() == [
        "0: 4 -a", "1: 3 a=2 5 a=3", "3: 3 a=2 was 1 4 -a was 2 5 a=3",
      ]
    )
    // What compaction took before the event was sent is left out.
    try harness.put("a", "4")
    try harness.put("a", "5")
    try harness.compact(6)
    harness.pump()
    #expect(harness.texts(stream).sorted() == ["1: 6 a=4 7 a=5", "3: 6 a=4 7 a=5 was 4"])
  }

  /// Blocks that were left out are read from the store.
  @Test func gapsInTheFeed() throws {
    let harness = try WatchHarness()
    let stream = harness.open()
    harness.create("a", on: stream)
    harness.create("a", from: 9, on: stream)
    _ = harness.take(stream)
    try harness.put("a", "2")
    _ = harness.store.takeEvents()
    try harness.put("a", "3")
    harness.pump()
    #expect(harness.texts(stream) == ["0: 2 a=2 3 a=3"])
    try harness.put("a", "4")
    _ = harness.store.takeEvents()
    harness.hub.loseTouch()
    harness.settle()
    #expect(harness.texts(stream) == ["0: 4 a=4"])
    #expect(harness.hub.counts.slowWatches == 0)
  }

  /// A long body that several streams get is handed on by reference.
  @Test func longBodiesAreShared() throws {
    let harness = try WatchHarness()
    let streams = (0..<3).map { _ in harness.open() }
    for stream in streams { harness.create("a", on: stream) }
    try harness.put("a", String(repeating: "x", count: 20_000))
    try harness.put("a", "short")
    harness.pump()
    #expect(harness.output.sharedBodies == 3)
    for stream in streams {
      #expect(harness.take(stream).flatMap(\.events).map(\.kv?.value.count) == [20_000, 5])
    }
  }
}

import Base
import MartletServer
import NIOCore
import Proto
import RPC
import Testing

/// A Watch call of a running member, and what it brought.
private final class WatchCall {
  private let call: StreamingCall<Etcdserverpb.WatchRequest, Etcdserverpb.WatchResponse>
  private var responses: ResponseStream<Etcdserverpb.WatchResponse>.AsyncIterator

  init(_ member: TestMember) async throws {
    call = try await WatchClient(member.client).watch(options: CallOptions(timeout: .minutes(9)))
    responses = call.responses.makeAsyncIterator()
  }

  func create(_ request: Etcdserverpb.WatchCreateRequest) async {
    await call.send(.init(requestUnion: .createRequest(request)))
  }

  func create(_ key: String, _ end: String = "", from: Int64 = 0) async {
    await create(
      .init(key: Array(key.utf8), rangeEnd: Array(end.utf8), startRevision: from)
    )
  }

  func cancel(_ id: Int64) async {
    await call.send(.init(requestUnion: .cancelRequest(.init(watchID: id))))
  }

  func requestProgress() async {
    await call.send(.init(requestUnion: .progressRequest(.init())))
  }

  func finishSending() { call.finishSending() }
  func end() { call.cancel() }

  func next() async throws -> Etcdserverpb.WatchResponse {
    try #require(try await responses.next())
  }

  /// The next events, as many as asked for, whatever else arrives.
  func events(_ count: Int) async throws -> [Mvccpb.Event] {
    var events: [Mvccpb.Event] = []
    while events.count < count { events += try await next().events }
    return events
  }
}

@Suite("A running member: watches", .timeLimit(.minutes(10)))
struct WatchTests {
  @Test("events of puts and deletes, cancel, half-close")
  func events() async throws {
    try await withMember { member in
      let watch = try await WatchCall(member)
      await watch.create("a")
      let created = try await watch.next()
      #expect(created.created && created.watchID == 0 && created.header?.revision == 1)
      #expect(created.header?.memberID == 0x8e9e_05c5_2164_694d)
      _ = try await member.kv.put(.init("a", "1"))
      let put = try await watch.next()
      #expect(put.header?.revision == 2 && put.events.map(\.type) == [.put])
      #expect(put.events.first?.kv?.text == "a=1")
      _ = try await member.kv.put(.init("b", "1"))
      watch.finishSending()
      _ = try await member.kv.deleteRange(.init(key: [97]))
      let delete = try await watch.next()
      #expect(delete.events == [.init(type: .delete, kv: .init(key: [97], modRevision: 4))])
      watch.end()
    }
  }

  @Test("the answer to a put comes after its event")
  func eventsBeforeAnswers() async throws {
    try await withMember { member in
      let watch = try await WatchCall(member)
      await watch.create("a", "z")
      _ = try await watch.next()
      for number in 1...20 {
        let answer = try await member.kv.put(.init("a", "\(number)"))
        await watch.requestProgress()
        let event = try await watch.next()
        #expect(event.events.first?.kv?.modRevision == answer.header?.revision)
        let progress = try await watch.next()
        #expect(progress.watchID == -1 && progress.header?.revision == answer.header?.revision)
      }
      await watch.cancel(0)
      #expect(try await watch.next().canceled)
    }
  }

  @Test("periodic progress when it is asked for")
  func progress() async throws {
    try await withMember {
      $0.watchProgressNotifyInterval = .milliseconds(100)
    } _: { member in
      let watch = try await WatchCall(member)
      await watch.create(.init(key: [97], progressNotify: true))
      #expect(try await watch.next().created)
      _ = try await member.kv.put(.init("b", "1"))
      while try await watch.next().header?.revision != 2 {}
    }
  }

  @Test("a watch goes on where the one before a restart stopped")
  func acrossARestart() async throws {
    let folder = try TemporaryFolder()
    var member = try await TestMember.start(in: folder)
    for number in 2...5 { _ = try await member.kv.put(.init("a", "\(number)")) }
    let first = try await WatchCall(member)
    await first.create("a", from: 2)
    #expect(try await first.events(4).map { $0.kv?.modRevision } == [2, 3, 4, 5])
    await member.member.stop()
    await expectFailure(.unavailable, "etcdserver: server stopped") { _ = try await first.next() }
    await member.client.shutdown()
    member = try await TestMember.start(in: folder)
    for number in 6...8 { _ = try await member.kv.put(.init("a", "\(number)")) }
    let second = try await WatchCall(member)
    await second.create("a", from: 4)
    #expect(try await second.events(5).map { $0.kv?.modRevision } == [4, 5, 6, 7, 8])
    await member.stop()
  }

  @Test("a stream that is not read falls behind and gets everything in the end")
  func slowReader() async throws {
    try await withMember { member in
      let slow = try await WatchCall(member)
      await slow.create("k", "l")
      #expect(try await slow.next().created)
      let fast = try await WatchCall(member)
      await fast.create("k", "l")
      _ = try await fast.next()
      let value = [UInt8](repeating: 120, count: 50_000)
      // More than every buffer between here and there holds.
      let count = 400
      for number in 0..<count {
        _ = try await member.kv.put(.init(key: Array("k\(number)".utf8), value: value))
        #expect(try await fast.events(1).first?.kv?.modRevision == Int64(number + 2))
      }
      let got = try await slow.events(count)
      #expect(got.map { $0.kv?.modRevision } == (2..<count + 2).map { Int64($0) })
      await slow.requestProgress()
      #expect(try await slow.next().header?.revision == Int64(count + 1))
    }
  }

  @Test("many watches of many keys on many streams under writes from all sides")
  func manyWatches() async throws {
    try await withMember { member in
      let streams = 8
      let keys = 50
      var calls: [WatchCall] = []
      for _ in 0..<streams {
        let call = try await WatchCall(member)
        for key in 0..<keys { await call.create("k\(key)") }
        await call.create("k", "l")
        for _ in 0...keys { #expect(try await call.next().created) }
        calls.append(call)
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<4 {
          group.addTask {
            for number in 0..<100 {
              _ = try await member.kv.put(.init("k\((writer * 31 + number) % keys)", "\(number)"))
            }
          }
        }
        try await group.waitForAll()
      }
      for call in calls {
        var last: [Int64: Int64] = [:]
        var counts = (single: 0, range: 0)
        while counts.single + counts.range < 800 {
          let response = try await call.next()
          for event in response.events {
            let revision = event.kv?.modRevision ?? 0
            #expect(revision > last[response.watchID, default: 1])
            last[response.watchID] = revision
            if response.watchID == keys { counts.range += 1 } else { counts.single += 1 }
          }
        }
        #expect(counts == (400, 400))
      }
    }
  }

  @Test("a flood of creations is answered as far as it is read, and the rest waits")
  func floodOfCreations() async throws {
    try await withMember { member in
      let flood = try await WatchCall(member)
      for _ in 0..<5000 { await flood.create("flood") }
      let other = try await WatchCall(member)
      await other.create("a")
      #expect(try await other.next().created)
      _ = try await member.kv.put(.init("a", "1"))
      #expect(try await other.events(1).count == 1)
      for id in 0..<5000 { #expect(try await flood.next().watchID == Int64(id)) }
    }
  }
}

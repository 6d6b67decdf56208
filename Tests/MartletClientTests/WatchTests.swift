import MartletClient
import MartletServer
import Testing

@Suite struct WatchTests {
  /// Reads events until there are `count`.
  private func read(_ count: Int, of watch: Watch) async throws -> [WatchEvent] {
    var events: [WatchEvent] = []
    for try await event in watch {
      events.append(event)
      if events.count == count { break }
    }
    return events
  }

  @Test(arguments: ServerKind.available)
  func aWatchTellsWhatHappensAfterIt(server: ServerKind) async throws {
    try await server.withClient { client in
      try await client.kv.put("a", "before")
      let watch = try await client.watch(
        .prefix("a"),
        WatchOptions(includesPrevious: true)
      )
      try await client.kv.put("a", "1")
      try await client.kv.put("b", "elsewhere")
      try await client.kv.put("ab", "2")
      try await client.kv.delete("a")
      let events = try await read(3, of: watch)
      #expect(events.map(\.kind) == [.put, .put, .delete])
      #expect(events.map(\.keyValue.keyText) == ["a", "ab", "a"])
      #expect(events.map(\.previous?.text) == ["before", nil, "1"])
      #expect(events.map(\.isCreation) == [false, true, false])
      #expect(events[0].revision == watch.revision + 1)
      let deletes = try await client.watch(
        .all,
        WatchOptions(startRevision: 1, only: .delete)
      )
      #expect(try await read(1, of: deletes).map(\.keyValue.keyText) == ["a"])
    }
  }

  @Test(arguments: ServerKind.available)
  func batchesAreWholeRevisions(server: ServerKind) async throws {
    try await server.withClient { client in
      let watch = try await client.watch(.all)
      let result = try await client.kv.commit(
        Transaction().then(.put("a", "1"), .put("b", "2"), .put("c", "3"))
      )
      var batches = watch.batches.makeAsyncIterator()
      let batch = try #require(try await batches.next())
      #expect(batch.revision == result.revision)
      #expect(batch.events.map(\.keyValue.keyText) == ["a", "b", "c"])
    }
  }

  /// Connections are cut before, amid and after what is written: every revision must come once, and
  /// in order.
  @Test(arguments: ServerKind.available)
  func nothingIsLostOrRepeatedAcrossReconnections(server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(2, to: target) { proxies in
        try await withClient([target]) { writer in
          try await withClient(proxies.map(\.address)) { client in
            let roundSize = 20
            let watch = try await client.watch(.prefix("k/"))
            var events = watch.makeAsyncIterator()
            var revision = watch.revision
            for round in 0..<15 {
              if round == 6 { proxies[1].set(.refuse) }
              if round == 9 { proxies[1].set(.pass) }
              let names = (0..<roundSize).map { "k/\(round)/\($0)" }
              switch round % 3 {
              case 0: for proxy in proxies { proxy.cut() }
              case 1: for proxy in proxies { proxy.cut(afterAnswerBytes: 2_000) }
              default: break
              }
              async let written: Void = Self.put(names, writer)
              if round % 3 == 2 {
                try await written
                for proxy in proxies { proxy.cut() }
              }
              for name in names {
                let event = try #require(try await events.next())
                #expect(event.keyValue.keyText == name)
                #expect(event.revision > revision)
                revision = event.revision
              }
              try await written
            }
            #expect(proxies.map(\.acceptCount).reduce(0, +) >= 10)
          }
        }
      }
    }
  }

  private static func put(_ names: [String], _ client: Client) async throws {
    for name in names { try await client.kv.put(name, String(repeating: "v", count: 512)) }
  }

  @Test(arguments: ServerKind.available)
  func aCompactedStartIsAnError(server: ServerKind) async throws {
    try await server.withClient { client in
      let revision = try await client.kv.put("a", "1").revision
      try await client.kv.put("a", "2")
      try await client.kv.compact(to: revision + 1)
      do {
        let watch = try await client.watch("a", WatchOptions(startRevision: revision))
        _ = try await read(1, of: watch)
        Issue.record("the watch tells what is compacted")
      } catch let error as ClientError {
        #expect(error.code == .compacted)
        #expect(error.compactRevision == revision + 1)
      }
    }
  }

  /// What was compacted while the watch could not reach anybody is an error, not a gap.
  @Test(arguments: ServerKind.available)
  func whatIsCompactedDuringABreakIsAnError(server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([target]) { writer in
          try await withClient([proxies[0].address]) { client in
            let watch = try await client.watch("a")
            try await writer.kv.put("a", "1")
            #expect(try await read(1, of: watch).map(\.keyValue.text) == ["1"])
            proxies[0].set(.refuse)
            proxies[0].cut()
            try await writer.kv.put("a", "2")
            let last = try await writer.kv.put("a", "3").revision
            try await writer.kv.compact(to: last)
            proxies[0].set(.pass)
            do {
              _ = try await read(1, of: watch)
              Issue.record("the watch goes on behind a gap")
            } catch let error as ClientError {
              #expect(error.code == .compacted)
              #expect(error.compactRevision == last)
            }
            // It stays ended.
            await expectFailure(.compacted) { _ = try await read(1, of: watch) }
          }
        }
      }
    }
  }

  /// More than a response takes: it comes in fragments, which must not tear revisions.
  @Test(arguments: ServerKind.available)
  func aSlowReaderHoldsOnlyItselfBack(server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          let watch = try await client.watch(.prefix("k/"))
          let count = 60
          let value = [UInt8](repeating: 7, count: 200 << 10)
          // 24 MB behind a reader who does not read; the same connection stays usable.
          for number in 0..<count {
            try await client.kv.commit(
              Transaction().then(.put("k/\(number)", value), .put("k/\(number)b", value))
            )
          }
          var batches = watch.batches.makeAsyncIterator()
          var keys: [String] = []
          while keys.count < 2 * count, let batch = try await batches.next() {
            keys += batch.events.map(\.keyValue.keyText)
            #expect(batch.events.count % 2 == 0)
            #expect(batch.events.last?.revision == batch.revision)
            #expect(batch.events.allSatisfy { $0.keyValue.value == value })
            if keys.count == 60 { proxies[0].cut() }
          }
          #expect(keys == (0..<count).flatMap { ["k/\($0)", "k/\($0)b"] })
        }
      }
    }
  }

  @Test(arguments: ServerKind.available)
  func progressIsToldToWhoAsks(server: ServerKind) async throws {
    try await server.withClient { client in
      let asking = try await client.watch("asking")
      let silent = try await client.watch("silent")
      let last = try await client.kv.put("elsewhere", "1").revision
      await asking.requestProgress()
      var batches = asking.batches.makeAsyncIterator()
      let answer = try #require(try await batches.next())
      #expect(answer.events.isEmpty)
      #expect(answer.revision == last && answer.header.revision == last)
      // Also when there is nothing new.
      await asking.requestProgress()
      #expect(try await batches.next()?.revision == last)
      try await client.kv.put("asking", "1")
      #expect(try await batches.next()?.events.count == 1)
      // They share a stream, but this one has not asked.
      try await client.kv.put("silent", "1")
      var others = silent.batches.makeAsyncIterator()
      #expect(try await others.next()?.events.count == 1)
    }
  }

  /// What was asked of a member that goes is asked of the next one.
  @Test func aRequestForProgressOutlivesItsConnection() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([target]) { writer in
          try await withClient([proxies[0].address]) { client in
            let watch = try await client.watch("a")
            proxies[0].set(.refuse)
            proxies[0].cut()
            await watch.requestProgress()
            // Members answer no watch that begins after their newest revision.
            let last = try await writer.kv.put("elsewhere", "1").revision
            proxies[0].set(.pass)
            var batches = watch.batches.makeAsyncIterator()
            let answer = try #require(try await batches.next())
            #expect(answer.events.isEmpty && answer.revision == last)
          }
        }
      }
    }
  }

  @Test func cancellingTheReaderEndsIt() async throws {
    try await withMartlet { client in
      let watch = try await client.watch("a")
      let reader = Task { try await read(1, of: watch) }
      reader.cancel()
      await expectFailure(.canceled) { _ = try await reader.value }
      // The watch itself lives: another task goes on where the first was.
      try await client.kv.put("a", "1")
      #expect(try await read(1, of: watch).map(\.keyValue.text) == ["1"])
      await watch.cancel()
      await expectFailure(.canceled) { _ = try await read(1, of: watch) }
    }
  }

  /// The member's own statement of how far it has come keeps an idle watch ahead of compactions.
  @Test func anIdleWatchKeepsUpWithCompactions() async throws {
    try await withMember(\.watchProgressNotifyInterval, .milliseconds(100)) { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([target]) { writer in
          try await withClient([proxies[0].address]) { client in
            let watch = try await client.watch("idle", WatchOptions(reportsProgress: true))
            var last: Int64 = 0
            for number in 0..<5 { last = try await writer.kv.put("busy", "\(number)").revision }
            var batches = watch.batches.makeAsyncIterator()
            while let batch = try await batches.next() {
              #expect(batch.events.isEmpty)
              if batch.revision >= last { break }
            }
            proxies[0].set(.refuse)
            proxies[0].cut()
            try await writer.kv.compact(to: last)
            proxies[0].set(.pass)
            try await writer.kv.put("idle", "1")
            while let batch = try await batches.next() {
              if !batch.events.isEmpty { break }
            }
          }
        }
      }
    }
  }
}

import MartletClient
import NIOCore
import Testing

/// Many watches on one stream.
@Suite struct SharedWatchTests {
  @Test(arguments: ServerKind.available)
  func manyWatchesShareOneStreamAndEachHearsItsOwn(server: ServerKind) async throws {
    try await server.withClient { client in
      let count = 300
      var watches: [Int: Watch] = [:]
      try await withThrowingTaskGroup(of: (Int, Watch).self) { group in
        for number in 0..<count {
          group.addTask { (number, try await client.watch("k/\(number)")) }
        }
        for try await (number, watch) in group { watches[number] = watch }
      }
      let streamCount = client.endpoints.count
      #expect(client.sharedWatchStreamCount == streamCount)
      for start in stride(from: 0, to: count, by: 100) {
        let puts = (start..<start + 100).map { Operation.put("k/\($0)", "v\($0)") }
        try await client.kv.commit(Transaction().then(puts))
      }
      for (number, watch) in watches {
        var events = watch.makeAsyncIterator()
        let event = try #require(try await events.next())
        #expect(event.keyValue.keyText == "k/\(number)" && event.keyValue.text == "v\(number)")
      }
      // Those that go leave the others alone; the last takes the stream along.
      let last = try #require(watches[7])
      watches = [:]
      try await client.kv.put("k/7", "again")
      var events = last.makeAsyncIterator()
      #expect(try await events.next()?.keyValue.text == "again")
      try await eventually { client.sharedWatchStreamCount == 1 }
      await last.cancel()
      try await eventually { client.sharedWatchStreamCount == 0 }
      let fresh = try await client.watch("k/7")
      try await client.kv.put("k/7", "fresh")
      events = fresh.makeAsyncIterator()
      #expect(try await events.next()?.keyValue.text == "fresh")
    }
  }

  /// One who does not read leaves the stream for one of its own, and misses nothing.
  @Test(arguments: ServerKind.available)
  func aSlowReaderDoesNotKeepOthersWaiting(server: ServerKind) async throws {
    try await server.withClient { client in
      let slow = try await client.watch(.prefix("big/"))
      let quick = try await client.watch(.prefix("small/"))
      var small = quick.makeAsyncIterator()
      let count = 40
      let value = [UInt8](repeating: 7, count: 100 << 10)
      for number in 0..<count {
        try await client.kv.put("big/\(number)", value)
        try await client.kv.put("small/\(number)", "")
        #expect(try await small.next()?.keyValue.keyText == "small/\(number)")
      }
      var revision = slow.revision
      var big = slow.makeAsyncIterator()
      for number in 0..<count {
        let event = try #require(try await big.next())
        #expect(event.keyValue.keyText == "big/\(number)" && event.keyValue.value == value)
        #expect(event.revision > revision)
        revision = event.revision
      }
      try await eventually { client.sharedWatchStreamCount == 1 }
    }
  }

  /// A watch that is given up before the member has answered leaves no trace, and the numbers of the
  /// others stay right.
  @Test(arguments: ServerKind.available)
  func watchesGivenUpEarlyDisturbNobody(server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          proxies[0].set(.slow(.milliseconds(20)))
          try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<30 {
              group.addTask {
                let opening = Task { try await client.watch("k/\(number)") }
                if number % 3 == 0 {
                  opening.cancel()
                  _ = try? await opening.value
                  return
                }
                let watch = try await opening.value
                try await client.kv.put("k/\(number)", "\(number)")
                var events = watch.makeAsyncIterator()
                let event = try #require(try await events.next())
                #expect(event.keyValue.keyText == "k/\(number)")
              }
            }
            try await group.waitForAll()
          }
          try await eventually { client.sharedWatchStreamCount == 0 }
        }
      }
    }
  }

  /// One watch that ends with an error is no affair of the others on its stream.
  @Test(arguments: ServerKind.available)
  func anErrorEndsOneWatchOnly(server: ServerKind) async throws {
    try await server.withClient { client in
      let revision = try await client.kv.put("a", "1").revision
      try await client.kv.put("a", "2")
      try await client.kv.compact(to: revision + 1)
      let good = try await client.watch("a")
      await expectFailure(.compacted) {
        let bad = try await client.watch("a", WatchOptions(startRevision: revision))
        for try await _ in bad {}
      }
      try await client.kv.put("a", "3")
      var events = good.makeAsyncIterator()
      #expect(try await events.next()?.keyValue.text == "3")
      try await eventually { client.sharedWatchStreamCount == 1 }
    }
  }
}

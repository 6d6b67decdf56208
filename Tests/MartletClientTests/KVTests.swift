import MartletClient
import Testing

@Suite struct KVTests {
  @Test(arguments: ServerKind.available)
  func aKeyIsPutReadAndDeleted(server: ServerKind) async throws {
    try await server.withClient { client in
      #expect(try await client.kv.get("a") == nil)
      let first = try await client.kv.put("a", "1")
      let second = try await client.kv.put("a", [0xFF, 0x00], returnsPrevious: true)
      #expect(second.revision == first.revision + 1)
      #expect(second.previous?.text == "1")
      let value = try #require(try await client.kv.get("a"))
      #expect(value.keyText == "a")
      #expect(value.value == [0xFF, 0x00])
      #expect(value.createRevision == first.revision)
      #expect(value.modRevision == second.revision)
      #expect(value.version == 2)
      #expect(value.lease == .none)
      let old = try await client.kv.get("a", RangeOptions(revision: first.revision))
      #expect(old?.text == "1")
      let deletion = try await client.kv.delete("a", returnsPrevious: true)
      #expect(deletion.count == 1)
      #expect(deletion.previous.map(\.version) == [2])
      #expect(try await client.kv.delete("a").count == 0)
    }
  }

  @Test(arguments: ServerKind.available)
  func rangesAreCutOrderedAndCounted(server: ServerKind) async throws {
    try await server.withClient { client in
      for name in ["b/2", "a", "b/1", "c", "b/3"] { try await client.kv.put(name, "v\(name)") }
      func keys(_ range: KeyRange, _ options: RangeOptions = .init()) async throws -> [String] {
        try await client.kv.range(range, options).keyValues.map(\.keyText)
      }
      #expect(try await keys(.prefix("b/")) == ["b/1", "b/2", "b/3"])
      #expect(try await keys(.all) == ["a", "b/1", "b/2", "b/3", "c"])
      #expect(try await keys(.range(from: "b/2", to: "c")) == ["b/2", "b/3"])
      #expect(try await keys(.from("b/3")) == ["b/3", "c"])
      #expect(try await keys(.prefix("")) == keys(.all))
      let cut = try await client.kv.range(.prefix("b/"), RangeOptions(limit: 2))
      #expect(cut.hasMore && cut.count == 3 && cut.keyValues.count == 2)
      #expect(
        try await keys(.prefix("b/"), RangeOptions(order: .descending(.modRevision)))
          == ["b/3", "b/1", "b/2"]
      )
      #expect(try await client.kv.count(.prefix("b/")) == 3)
      let names = try await client.kv.range(.prefix("b/"), RangeOptions(keysOnly: true))
      #expect(names.keyValues.allSatisfy { $0.value.isEmpty })
      let serializable = try await client.kv.get("a", RangeOptions(isSerializable: true))
      #expect(serializable?.text == "va")
      #expect(try await client.kv.delete(.prefix("b/")).count == 3)
    }
  }

  @Test(arguments: ServerKind.available)
  func aTransactionGoesOneWayOrTheOther(server: ServerKind) async throws {
    try await server.withClient { client in
      let claim = Transaction()
        .if(.isMissing("owner"))
        .then(.put("owner", "alice"), .put("since", "now"))
        .else(.get("owner"), .count(.all))
      #expect(try await client.kv.commit(claim).succeeded)
      let second = try await client.kv.commit(claim)
      #expect(!second.succeeded)
      #expect(second.keyValues(at: 0).first?.text == "alice")
      #expect(second.results.count == 2)
      if case .range(let count) = second.results[1] { #expect(count.count == 2) }
      #expect(second.keyValues(at: 7).isEmpty)

      let nested = Transaction()
        .if(.value(of: "owner", .equal, "alice"), .version(of: .all, .less, 2), .exists("since"))
        .then(
          .transaction(
            Transaction().if(.value(of: "since", .notEqual, "then")).then(.delete("since"))
          ),
          .put("owner", "bob", returnsPrevious: true)
        )
      let result = try await client.kv.commit(nested)
      #expect(result.succeeded)
      guard case .transaction(let inner) = result.results.first,
        case .delete(let deletion) = inner.results.first, case .put(let put) = result.results.last
      else {
        Issue.record("\(result)")
        return
      }
      #expect(inner.succeeded && deletion.count == 1 && put.previous?.text == "alice")
    }
  }

  @Test(arguments: ServerKind.available)
  func errorsSayWhatWasRefused(server: ServerKind) async throws {
    try await server.withClient { client in
      await expectFailure(.emptyKey, .refused) { try await client.kv.put("", "v") }
      await expectFailure(.keyNotFound, .refused) { try await client.kv.update("a", "v") }
      await expectFailure(.leaseNotFound, .refused) {
        try await client.kv.put("a", "v", lease: LeaseID(rawValue: 7))
      }
      await expectFailure(.duplicateKey, .refused) {
        try await client.kv.commit(Transaction().then(.put("a", "1"), .put("a", "2")))
      }
      await expectFailure(.futureRevision, .refused) {
        _ = try await client.kv.get("a", RangeOptions(revision: 1_000))
      }
      let revision = try await client.kv.put("a", "1").revision
      try await client.kv.put("a", "2")
      try await client.kv.compact(to: revision + 1, waitsUntilDone: true)
      await expectFailure(.compacted, .refused) {
        _ = try await client.kv.get("a", RangeOptions(revision: revision))
      }
      await expectFailure(.compacted, .refused) { try await client.kv.compact(to: revision) }
      #expect(try await client.kv.get("a")?.text == "2")
    }
  }

  @Test(arguments: ServerKind.available)
  func updateKeepsTheLeaseAndBindKeepsTheValue(server: ServerKind) async throws {
    try await server.withClient { client in
      let lease = try await client.leases.grant(ttl: .seconds(60)).id
      try await client.kv.put("a", "1", lease: lease)
      try await client.kv.update("a", "2")
      #expect(try await client.kv.get("a")?.lease == lease)
      try await client.kv.bind("a", to: .none)
      let value = try await client.kv.get("a")
      #expect(value?.lease == LeaseID.none && value?.text == "2")
    }
  }

  @Test(arguments: ServerKind.available)
  func pagesAndStreamsShowOneRevision(server: ServerKind) async throws {
    try await server.withClient { client in
      let names = (100..<350).map { "k/\($0)" }
      for start in stride(from: 0, to: names.count, by: 50) {
        let puts = names[start..<start + 50].map { Operation.put($0, "v") }
        try await client.kv.commit(Transaction().then(puts))
      }
      var paged: [String] = []
      var pageCount = 0
      for try await page in client.kv.pages(.prefix("k/"), pageKeyCount: 100) {
        paged += page.keyValues.map(\.keyText)
        pageCount += 1
        // A key that comes behind the page read last must not show up in the next.
        try await client.kv.put("k/3990\(pageCount)", "late")
      }
      #expect(paged == names)
      #expect(pageCount == 3)
      var limited: [String] = []
      for try await page in client.kv.pages(.all, RangeOptions(limit: 7), pageKeyCount: 5) {
        limited += page.keyValues.map(\.keyText)
      }
      #expect(limited == Array(names[..<7]))
      var streamed: [String] = []
      for try await keyValue in client.kv.stream(.range(from: "k/", to: "k/399")) {
        streamed.append(keyValue.keyText)
        if streamed.count == 1 { try await client.kv.put("k/3501", "late") }
      }
      #expect(streamed == names)
      await expectFailure(.invalidArgument) {
        let options = RangeOptions(order: .ascending(.value))
        for try await _ in client.kv.pages(.all, options) {}
      }
    }
  }

  struct Person: Codable, Equatable {
    var name: String
    var age: Int
  }

  @Test func codableValuesTravelAsJSON() async throws {
    try await withMartlet { client in
      let ada = Person(name: "Ada", age: 36)
      try await client.kv.put("ada", encoding: ada)
      #expect(try await client.kv.get("ada", as: Person.self) == ada)
      #expect(try await client.kv.get("ada")?.text == #"{"age":36,"name":"Ada"}"#)
      #expect(try await client.kv.get("bob", as: Person.self) == nil)
      try await client.kv.put("ada", "no json")
      await expectFailure(.malformedResponse, .notDone) {
        _ = try await client.kv.get("ada", as: Person.self)
      }
    }
  }

  @Test(arguments: ServerKind.available)
  func aNamespaceIsAStoreOfItsOwn(server: ServerKind) async throws {
    try await server.withClient { client in
      let app = client.namespace("app/")
      let inner = app.namespace("in/")
      try await client.kv.put("app", "outside")
      try await client.kv.put("apq", "outside")
      try await app.kv.put("a", "1")
      try await inner.kv.put("b", "2")
      #expect(try await client.kv.get("app/in/b")?.text == "2")
      #expect(try await app.kv.range(.all).keyValues.map(\.keyText) == ["a", "in/b"])
      #expect(try await app.kv.range(.from("b")).keyValues.map(\.keyText) == ["in/b"])
      #expect(try await app.kv.range(.prefix("in")).keyValues.map(\.keyText) == ["in/b"])
      let watch = try await app.watch(.all, WatchOptions(startRevision: 1))
      var keys: [String] = []
      for try await event in watch {
        keys.append(event.keyValue.keyText)
        if keys.count == 2 { break }
      }
      #expect(keys == ["a", "in/b"])
      let moved = try await app.kv.commit(
        Transaction().if(.value(of: "a", .equal, "1")).then(.get("a"), .delete(.all))
      )
      #expect(moved.keyValues(at: 0).first?.keyText == "a")
      #expect(try await client.kv.range(.all).keyValues.map(\.keyText) == ["app", "apq"])
    }
  }
}

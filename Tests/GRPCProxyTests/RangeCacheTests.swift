import Base
import Proto
import Testing

@testable import GRPCProxy

@Suite struct RangeCacheTests {
  private func key(_ key: String, end: String = "", revision: Int64 = 0) -> RangeCache.Key {
    RangeCache.Key(
      request: .init(
        key: Array(key.utf8),
        rangeEnd: Array(end.utf8),
        revision: revision,
        serializable: true
      ),
      identity: CallIdentity()
    )
  }

  private func span(_ key: String, _ end: String = "") -> KeySpan {
    KeySpan(Array(key.utf8), Array(end.utf8))
  }

  private func answer(_ text: String = "x") -> SharedBytes { SharedBytes(Array(text.utf8)) }

  @Test(
    "spans that have a key in common",
    arguments: [
      (("a", ""), ("a", ""), true), (("a", ""), ("b", ""), false),
      (("a", "c"), ("b", ""), true), (("a", "c"), ("c", ""), false),
      (("a", "c"), ("b", "d"), true), (("a", "b"), ("b", "c"), false),
      (("a", "\0"), ("z", ""), true), (("b", "\0"), ("a", ""), false),
      (("b", "\0"), ("a", "b"), false), (("b", "\0"), ("a", "c"), true),
    ]
  )
  func overlap(one: (String, String), other: (String, String), expected: Bool) {
    #expect(span(one.0, one.1).overlaps(span(other.0, other.1)) == expected)
    #expect(span(other.0, other.1).overlaps(span(one.0, one.1)) == expected)
  }

  @Test("a write forgets what it may have changed, and nothing else")
  func invalidates() {
    var cache = RangeCache(entriesMax: 100, bytesMax: 1 << 20)
    let keys = [key("a"), key("b"), key("a", end: "c"), key("x", end: "\0")]
    for key in keys { cache.add(answer(), to: key) }
    cache.apply(.write([span("a")]))
    let kept = keys.map { cache.answer(to: $0) != nil }
    #expect(kept == [false, true, false, true])
    cache.apply(.write([span("b", "\0")]))
    #expect(cache.count == 0)
    #expect(cache.hits == 2 && cache.misses == 2)
    #expect(cache.epoch == 2)
  }

  @Test("a compaction forgets reads of the revisions that it takes away")
  func compacts() {
    var cache = RangeCache(entriesMax: 100, bytesMax: 1 << 20)
    let keys = [key("a", revision: 4), key("a", revision: 5), key("a")]
    for key in keys { cache.add(answer(), to: key) }
    cache.apply(.compaction(5))
    let kept = keys.map { cache.answer(to: $0) != nil }
    #expect(kept == [false, true, true])
  }

  @Test("entries and bytes are bounded; what was used last stays")
  func bounds() {
    var cache = RangeCache(entriesMax: 16, bytesMax: 1 << 20)
    for number in 0..<100 {
      cache.add(answer(), to: key("k\(number)"))
      _ = cache.answer(to: key("k0"))
      #expect(cache.count <= 16)
    }
    let kept = ["k0", "k99"].map { cache.answer(to: key($0)) != nil }
    #expect(kept == [true, true])
    var small = RangeCache(entriesMax: 1000, bytesMax: 1000)
    for number in 0..<100 {
      small.add(answer(String(repeating: "v", count: 60)), to: key("\(number)"))
    }
    #expect(small.count <= 16 && small.count > 8)
    small.add(answer(String(repeating: "v", count: 500)), to: key("too long"))
    let tooLong = small.answer(to: key("too long"))
    #expect(tooLong == nil)
  }

  @Test("what a request means")
  func effects() throws {
    let transaction = Etcdserverpb.TxnRequest(
      success: [
        .init(request: .requestPut(.init(key: [1]))),
        .init(
          request: .requestTxn(
            .init(failure: [.init(request: .requestDeleteRange(.init(key: [2], rangeEnd: [3])))])
          )
        ),
      ],
      failure: [.init(request: .requestRange(.init(key: [9])))]
    )
    let effect = try transaction.encoded().withUnsafeBytes {
      try CacheEffect(.txn, $0, CallIdentity())
    }
    guard case .write(let spans) = effect else {
      Issue.record("\(effect)")
      return
    }
    #expect(spans == [KeySpan([1]), KeySpan([2], [3])])
    let read = Etcdserverpb.TxnRequest(success: [.init(request: .requestRange(.init(key: [9])))])
    let none = try read.encoded().withUnsafeBytes { try CacheEffect(.txn, $0, CallIdentity()) }
    guard case .none = none else {
      Issue.record("\(none)")
      return
    }
  }
}

import Base
import Proto

/// Answers to serializable reads, for as long as no write of their keys goes through the proxy, as
/// etcd's proxy has it: a write that does not go through it is not seen. The answer to a linearizable
/// read serves serializable ones as well. Confined to the event loop.
struct RangeCache {
  /// What is asked, serializable, and by whom: an answer is for its own caller only.
  struct Key: Hashable {
    let request: Etcdserverpb.RangeRequest
    let identity: CallIdentity
  }

  private struct Entry {
    let answer: SharedBytes
    /// When it was used last.
    var turn: UInt64
  }

  private let entriesMax: Int
  private let bytesMax: Int
  private var entries: [Key: Entry] = [:]
  /// The reads of one key, by that key, and those of more.
  private var singles: [[UInt8]: Set<Key>] = [:]
  private var ranges: Set<Key> = []
  private var bytes = 0
  private var turn: UInt64 = 0
  /// Changes with each write: an answer that was under way meanwhile is not kept.
  private(set) var epoch: UInt64 = 0
  private(set) var hits: UInt64 = 0
  private(set) var misses: UInt64 = 0

  init(entriesMax: Int, bytesMax: Int) {
    self.entriesMax = entriesMax
    self.bytesMax = bytesMax
  }

  var count: Int { entries.count }

  mutating func answer(to key: Key) -> SharedBytes? {
    guard let answer = entries[key]?.answer else {
      misses += 1
      return nil
    }
    hits += 1
    turn += 1
    entries[key]?.turn = turn
    return answer
  }

  mutating func add(_ answer: SharedBytes, to key: Key) {
    guard answer.count <= bytesMax / 16 else { return }
    remove(key)
    while entries.count >= entriesMax || bytes + answer.count > bytesMax { evict() }
    turn += 1
    entries[key] = Entry(answer: answer, turn: turn)
    bytes += answer.count
    if key.request.rangeEnd.isEmpty {
      singles[key.request.key, default: []].insert(key)
    } else {
      ranges.insert(key)
    }
  }

  mutating func apply(_ effect: CacheEffect) {
    switch effect {
    case .none, .read: return
    case .write(let spans):
      epoch &+= 1
      for span in spans { invalidate(span) }
    case .compaction(let revision):
      epoch &+= 1
      let old = entries.keys.filter { $0.request.revision > 0 && $0.request.revision < revision }
      for key in old { remove(key) }
    }
  }

  private mutating func invalidate(_ span: KeySpan) {
    if span.end.isEmpty {
      for key in singles[span.key] ?? [] { remove(key) }
    } else {
      for key in singles.keys where span.contains(key) {
        for entry in singles[key] ?? [] { remove(entry) }
      }
    }
    for key in ranges where KeySpan(key.request.key, key.request.rangeEnd).overlaps(span) {
      remove(key)
    }
  }

  private mutating func remove(_ key: Key) {
    guard let entry = entries.removeValue(forKey: key) else { return }
    bytes -= entry.answer.count
    ranges.remove(key)
    singles[key.request.key]?.remove(key)
    if singles[key.request.key]?.isEmpty == true { singles[key.request.key] = nil }
  }

  /// Removes the oldest eighth, so that not every addition has to look for the oldest.
  private mutating func evict() {
    let turns = entries.values.map(\.turn).sorted()
    guard !turns.isEmpty else { return }
    let last = turns[turns.count / 8]
    for key in entries.filter({ $0.value.turn <= last }).keys { remove(key) }
  }
}

/// A key, or a range of keys as requests have it: `[0]` as an end is no end.
struct KeySpan: Hashable {
  let key: [UInt8]
  let end: [UInt8]

  init(_ key: [UInt8], _ end: [UInt8] = []) {
    self.key = key
    self.end = end
  }

  func contains(_ other: [UInt8]) -> Bool {
    if end.isEmpty { return key == other }
    return !other.lexicographicallyPrecedes(key) && reaches(beyond: other)
  }

  func overlaps(_ other: KeySpan) -> Bool {
    if end.isEmpty { return other.contains(key) }
    if other.end.isEmpty { return contains(other.key) }
    return reaches(beyond: other.key) && other.reaches(beyond: key)
  }

  private func reaches(beyond other: [UInt8]) -> Bool {
    end == [0] || other.lexicographicallyPrecedes(end)
  }
}

/// What a request means to the cache.
enum CacheEffect {
  case none
  /// Answers may be kept under the key; `isServed`: and one that was kept may be the answer.
  case read(RangeCache.Key, isServed: Bool)
  case write([KeySpan])
  case compaction(Int64)

  /// Reads a client's request. Throws when it cannot be decoded.
  init(
    _ kind: ProxiedMethod.Kind,
    _ message: UnsafeRawBufferPointer,
    _ identity: CallIdentity
  ) throws(DecodeError) {
    switch kind {
    case .range:
      var request = try Etcdserverpb.RangeRequest(decoding: message)
      let isServed = request.serializable
      request.serializable = true
      self = .read(RangeCache.Key(request: request, identity: identity), isServed: isServed)
    case .put:
      self = .write([KeySpan(try Etcdserverpb.PutRequest(decoding: message).key)])
    case .deleteRange:
      let request = try Etcdserverpb.DeleteRangeRequest(decoding: message)
      self = .write([KeySpan(request.key, request.rangeEnd)])
    case .txn:
      let spans = Self.written(by: try Etcdserverpb.TxnRequest(decoding: message))
      self = spans.isEmpty ? .none : .write(spans)
    case .compact:
      self = .compaction(try Etcdserverpb.CompactionRequest(decoding: message).revision)
    default: self = .none
    }
  }

  var isWrite: Bool {
    switch self {
    case .write, .compaction: true
    case .none, .read: false
    }
  }

  /// What either branch may write.
  private static func written(by transaction: Etcdserverpb.TxnRequest) -> [KeySpan] {
    (transaction.success + transaction.failure).flatMap { operation -> [KeySpan] in
      switch operation.request {
      case .requestPut(let request)?: [KeySpan(request.key)]
      case .requestDeleteRange(let request)?: [KeySpan(request.key, request.rangeEnd)]
      case .requestTxn(let request)?: written(by: request)
      case .requestRange?, nil: []
      }
    }
  }
}

import Base
import Proto
import Synchronization

/// A range whose revision is held until it has been read piece by piece: which keys are asked for,
/// at which revision, and how far the reading is.
///
/// Pins its revision from creation to `close`, which holds compaction up. One thread at a time.
final class PinnedRange {
  private let store: Store
  private let key: [UInt8]
  private let rangeEnd: [UInt8]
  let limit: Int
  let keysOnly: Bool
  let countOnly: Bool
  /// The store's revision when the range began: what the header names.
  let revision: Int64
  /// The revision read at.
  private let wanted: Int64
  private var pin: Int?
  /// The store's when what was taken so far was read.
  private var generation: Int
  /// Pairs taken since the beginning.
  private(set) var taken = 0
  private var lastKey: [UInt8] = []
  private var knownCount: Int?

  /// Keys resolved at a time: as few as fill a message of small pairs.
  private static let chunkKeys = 256

  /// Throws `.compacted` or `.futureRevision`.
  init(_ request: Etcdserverpb.RangeRequest.View, store: Store) throws(StoreError) {
    self.store = store
    key = [UInt8](request.key)
    rangeEnd = [UInt8](request.rangeEnd)
    limit = request.limit > 0 ? Int(request.limit) : .max
    keysOnly = request.keysOnly
    countOnly = request.countOnly
    store.lock.lockForReading()
    generation = store.generation.load(ordering: .acquiring)
    let compacted = store.compacted
    revision = store.current
    wanted = request.revision <= 0 ? revision : request.revision
    let isReadable = wanted <= revision && wanted >= compacted
    if isReadable {
      pin = store.pins.pin(wanted)
      if wanted == revision {
        knownCount = store.index.liveCount(
          in: KeySpan(key: request.key, rangeEnd: request.rangeEnd)
        )
      }
    }
    store.lock.unlock()
    if wanted > revision { throw .futureRevision }
    if !isReadable { throw .compacted }
  }

  deinit {
    close()
  }

  /// Lets go of the revision: nothing can be read any more.
  func close() {
    if let pin { store.pins.unpin(pin) }
    pin = nil
  }

  /// Runs `body` with a context for reading. Throws `.compacted` when a snapshot was installed that
  /// does not know the revision any more, or while `body` ran, half of whose work is done.
  func withContext<Result>(
    _ reader: StoreReader,
    _ body: (ReadContext) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    precondition(pin != nil, "a range was read after its end")
    try followInstall()
    reader.begin()
    defer { reader.end() }
    do throws(StoreError) {
      let result = try body(
        ReadContext(store: store, reader: reader, revision: revision, compacted: 0, isApply: false)
      )
      if store.isUnchanged(since: generation) { return result }
    } catch {
      if store.isUnchanged(since: generation) { throw error }
    }
    throw .compacted
  }

  private func followInstall() throws(StoreError) {
    if store.isUnchanged(since: generation) { return }
    store.lock.lockForReading()
    defer { store.lock.unlock() }
    guard wanted >= store.compacted else { throw .compacted }
    generation = store.generation.load(ordering: .acquiring)
  }

  /// Calls `visit` with the pairs that follow, in order, until it returns false or the limit is
  /// reached. The pair that it refused comes first the next time. Returns whether pairs are left
  /// beyond the limit, or nil when `visit` stopped the walk.
  func forEachPair(
    _ context: ReadContext,
    _ visit: (UnsafeRawBufferPointer) throws(StoreError) -> Bool
  ) throws(StoreError) -> Bool? {
    var hasMore = true
    while hasMore && taken < limit {
      hasMore = resolve(context)
      var last: UnsafeRawBufferPointer?
      defer { if let last { note(last) } }
      for position in 0..<context.reader.chunkCount {
        let key = context.reader.chunk[position]
        let pair = try context.reader.pair(key.main, key.sub)
        guard try visit(pair) else { return nil }
        last = pair
        taken += 1
      }
    }
    return hasMore
  }

  /// How many bytes the range's pairs take as fields of a response, and how many pairs there are;
  /// whether the limit cuts some off. Before the first pair is taken.
  func measurePairs(
    _ context: ReadContext
  ) throws(StoreError) -> (bytes: Int, count: Int, hasMore: Bool) {
    precondition(taken == 0)
    var (bytes, count, hasMore) = (0, 0, true)
    while hasMore && count < limit {
      hasMore = withSpan { span in
        context.resolve(span, at: wanted, limit: limit - count, continuing: count > 0)
      }
      for position in 0..<context.reader.chunkCount {
        let key = context.reader.chunk[position]
        let length =
          key.pairBytes == 0 || keysOnly
          ? try context.sentBytes(context.reader.pair(key.main, key.sub), keysOnly: keysOnly)
          : Int(key.pairBytes)
        bytes += 1 + ByteWriter.varintLength(UInt64(length)) + length
      }
      count += context.reader.chunkCount
    }
    return (bytes, count, hasMore)
  }

  /// All keys of the range, whatever the limit.
  func total(_ context: ReadContext) -> Int {
    if let knownCount { return knownCount }
    let count = withSpan { context.count($0, at: wanted) }
    knownCount = count
    return count
  }

  private func note(_ pair: UnsafeRawBufferPointer) {
    guard let key = KeyValueBytes.key(of: pair) else { return }
    lastKey.removeAll(keepingCapacity: true)
    lastKey.append(contentsOf: key)
  }

  private func resolve(_ context: ReadContext) -> Bool {
    context.reader.lastKey.removeAll()
    lastKey.withUnsafeBytes { context.reader.lastKey.append($0) }
    return withSpan { span in
      context.resolve(
        span,
        at: wanted,
        limit: min(Self.chunkKeys, limit - taken),
        continuing: taken > 0
      )
    }
  }

  private func withSpan<Result>(_ body: (KeySpan) -> Result) -> Result {
    key.withUnsafeBytes { key in
      rangeEnd.withUnsafeBytes { end in body(KeySpan(key: key, rangeEnd: end)) }
    }
  }
}

extension ReadContext {
  /// How many bytes of a pair are sent.
  func sentBytes(_ pair: UnsafeRawBufferPointer, keysOnly: Bool) throws(StoreError) -> Int {
    guard keysOnly else { return pair.count }
    guard let parts = KeyValueBytes(pair) else { throw .corrupt }
    return pair.count - parts.valueField.count
  }
}

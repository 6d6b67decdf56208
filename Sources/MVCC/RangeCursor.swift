package import Base
package import Proto
import Synchronization

/// A range that is answered in several messages, all at one revision.
///
/// Pins its revision from creation to `close` (or its end), which holds compaction up; the owner
/// must therefore give it up when the caller's deadline passes. Use it on one thread at a time.
package final class RangeCursor {
  private let store: Store
  private let header: ResponseHeader
  private let request: [UInt8]
  private let rangeEnd: [UInt8]
  private let limit: Int
  private let keysOnly: Bool
  private let countOnly: Bool
  /// The store's revision when the range began: what the header names.
  private let revision: Int64
  /// The revision read at.
  private let wanted: Int64
  private var pin: Int?
  private var written = 0
  private var lastKey: [UInt8] = []
  private var knownCount: Int?

  /// What one key adds to a message at most beside its pair: tag and length.
  private static let pairOverheadBytes = 6
  /// Keys resolved at a time: as few as fill a message of small pairs.
  private static let chunkKeys = 256

  /// Throws `.compacted` or `.futureRevision`.
  fileprivate init(
    _ request: Etcdserverpb.RangeRequest.View,
    store: Store,
    header: ResponseHeader
  ) throws(StoreError) {
    self.store = store
    self.header = header
    self.request = [UInt8](request.key)
    rangeEnd = [UInt8](request.rangeEnd)
    limit = request.limit > 0 ? Int(request.limit) : .max
    keysOnly = request.keysOnly
    countOnly = request.countOnly
    store.lock.lockForReading()
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

  /// Lets go of the revision. The cursor is at its end afterwards.
  package func close() {
    if let pin { store.pins.unpin(pin) }
    pin = nil
  }

  /// Appends the next RangeStreamResponse. Returns whether another one follows.
  ///
  /// A message takes as many pairs as fit `bytesMax`, and at least one. Header, count and more come
  /// in the last one. Throws `.corrupt` with nothing written.
  package func next(
    bytesMax: Int,
    reader: StoreReader,
    into reply: inout ByteWriter
  ) throws(StoreError) -> Bool {
    precondition(pin != nil, "a range cursor was used after its end")
    let start = reply.count
    reader.begin()
    defer { reader.end() }
    let context = ReadContext(
      store: store,
      reader: reader,
      revision: revision,
      compacted: 0,
      isApply: false
    )
    do throws(StoreError) {
      let isLast = try appendMessage(context, bytesMax: bytesMax, into: &reply)
      reply.closeField(1, since: start)
      if isLast { close() }
      return !isLast
    } catch {
      reply.truncate(to: start)
      throw error
    }
  }

  /// Appends the content of one RangeResponse and returns whether it is the last.
  private func appendMessage(
    _ context: ReadContext,
    bytesMax: Int,
    into reply: inout ByteWriter
  ) throws(StoreError) -> Bool {
    if countOnly {
      header.write(revision: Revision(revision), into: &reply)
      reply.append(field: 4, varint: Int64(total(context)))
      return true
    }
    let before = reply.count
    var hasMore = true
    while hasMore && written < limit {
      hasMore = resolve(context)
      for position in 0..<context.reader.chunkCount {
        let key = context.reader.chunk[position]
        let pair = try context.reader.pair(key.main, key.sub)
        let pairBytes = try keysOnly ? bytesWithoutValue(pair) : pair.count
        let size = reply.count - before + pairBytes + Self.pairOverheadBytes
        if size > bytesMax && reply.count > before { return false }
        try context.append(pair, keysOnly: keysOnly, into: &reply)
        try noteLast(pair)
        written += 1
      }
    }
    // The header is field 1 and comes before the pairs.
    var head = ByteWriter(capacity: 64)
    header.write(revision: Revision(revision), into: &head)
    let end = reply.count + head.count
    reply.openGap(head.count, at: before)
    reply.truncate(to: before)
    reply.append(head.bytes)
    reply.advance(by: end - reply.count)
    if hasMore { reply.append(field: 3, varint: UInt64(1)) }
    reply.append(field: 4, varint: Int64(hasMore ? total(context) : written))
    return true
  }

  private func bytesWithoutValue(_ pair: UnsafeRawBufferPointer) throws(StoreError) -> Int {
    guard let parts = KeyValueBytes(pair) else { throw .corrupt }
    return pair.count - parts.valueField.count
  }

  private func noteLast(_ pair: UnsafeRawBufferPointer) throws(StoreError) {
    guard let key = KeyValueBytes.key(of: pair) else { throw .corrupt }
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
        limit: min(Self.chunkKeys, limit - written),
        continuing: written > 0
      )
    }
  }

  private func total(_ context: ReadContext) -> Int {
    knownCount ?? withSpan { context.count($0, at: wanted) }
  }

  private func withSpan<Result>(_ body: (KeySpan) -> Result) -> Result {
    request.withUnsafeBytes { key in
      rangeEnd.withUnsafeBytes { end in body(KeySpan(key: key, rangeEnd: end)) }
    }
  }
}

extension Store {
  /// Whether a range can be streamed: in order of keys, without filters by revision.
  package static func isStreamable(_ request: Etcdserverpb.RangeRequest.View) -> Bool {
    !request.needsGathering
  }

  /// Begins a range in several messages. The request must be `isStreamable`; its bytes are copied.
  /// Throws `.compacted` or `.futureRevision`. Any thread.
  package func rangeCursor(
    _ request: Etcdserverpb.RangeRequest.View,
    header: ResponseHeader
  ) throws(StoreError) -> RangeCursor {
    precondition(Self.isStreamable(request))
    statistics.rangeCounter.add(1, ordering: .relaxed)
    return try RangeCursor(request, store: self, header: header)
  }
}

package import Base
package import Proto
import Synchronization

/// A range that is answered in several messages, all at one revision.
///
/// Pins its revision from creation to `close` (or its end), which holds compaction up; the owner
/// must therefore give it up when the caller's deadline passes. Use it on one thread at a time.
package final class RangeCursor {
  private let range: PinnedRange
  private let header: ResponseHeader

  /// What one key adds to a message at most beside its pair: tag and length.
  private static let pairOverheadBytes = 6

  /// Throws `.compacted` or `.futureRevision`.
  fileprivate init(
    _ request: Etcdserverpb.RangeRequest.View,
    store: Store,
    header: ResponseHeader
  ) throws(StoreError) {
    range = try PinnedRange(request, store: store)
    self.header = header
  }

  /// Lets go of the revision. The cursor is at its end afterwards.
  package func close() {
    range.close()
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
    let start = reply.count
    do throws(StoreError) {
      let isLast = try range.withContext(reader) { context throws(StoreError) in
        try appendMessage(context, bytesMax: bytesMax, into: &reply)
      }
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
    if range.countOnly {
      header.write(revision: Revision(range.revision), into: &reply)
      reply.append(field: 4, varint: Int64(range.total(context)))
      return true
    }
    let before = reply.count
    let hasMore = try range.forEachPair(context) { pair throws(StoreError) in
      let pairBytes = try context.sentBytes(pair, keysOnly: range.keysOnly)
      let size = reply.count - before + pairBytes + Self.pairOverheadBytes
      if size > bytesMax && reply.count > before { return false }
      try context.append(pair, keysOnly: range.keysOnly, into: &reply)
      return true
    }
    guard let hasMore else { return false }
    // The header is field 1 and comes before the pairs.
    var head = ByteWriter(capacity: 64)
    header.write(revision: Revision(range.revision), into: &head)
    let end = reply.count + head.count
    reply.openGap(head.count, at: before)
    reply.truncate(to: before)
    reply.append(head.bytes)
    reply.advance(by: end - reply.count)
    if hasMore { reply.append(field: 3, varint: UInt64(1)) }
    reply.append(field: 4, varint: Int64(hasMore ? range.total(context) : range.taken))
    return true
  }
}

/// A RangeResponse that is written piece by piece, so that the whole of a long one is never in
/// memory and its beginning is on its way while the rest is being made.
///
/// First `measure`, then `next` until it returns false. The same rules as for a `RangeCursor`.
package final class RangePieces {
  private let range: PinnedRange
  private let header: ResponseHeader
  /// What `measure` found: whether pairs are left beyond the limit, and how many were counted.
  private var tail: (hasMore: Bool, count: Int)?
  private var isBegun = false

  fileprivate init(
    _ request: Etcdserverpb.RangeRequest.View,
    store: Store,
    header: ResponseHeader
  ) throws(StoreError) {
    range = try PinnedRange(request, store: store)
    self.header = header
  }

  /// The length of the encoded response in bytes. The index knows the lengths of the newest pairs;
  /// only others are looked up.
  package func measure(reader: StoreReader) throws(StoreError) -> Int {
    let bytes = try range.withContext(reader) { context throws(StoreError) in
      let found = try range.measurePairs(context)
      tail = (found.hasMore, found.hasMore ? range.total(context) : found.count)
      return found.bytes
    }
    var ends = ByteWriter(capacity: 128)
    appendHead(to: &ends)
    appendTail(to: &ends)
    return bytes + ends.count
  }

  /// Appends about `bytesMax` further bytes of the response, and returns whether more follow. With
  /// pairs longer than that, a piece is one pair. Throws `.corrupt`, with the response unfinished.
  package func next(
    bytesMax: Int,
    reader: StoreReader,
    into reply: inout ByteWriter
  ) throws(StoreError) -> Bool {
    if !isBegun {
      isBegun = true
      appendHead(to: &reply)
    }
    let before = reply.count
    let end = try range.withContext(reader) { context throws(StoreError) in
      try range.forEachPair(context) { pair throws(StoreError) in
        if reply.count - before >= bytesMax { return false }
        try context.append(pair, keysOnly: range.keysOnly, into: &reply)
        return true
      }
    }
    guard end != nil else { return true }
    appendTail(to: &reply)
    range.close()
    return false
  }

  private func appendHead(to reply: inout ByteWriter) {
    header.write(revision: Revision(range.revision), into: &reply)
  }

  private func appendTail(to reply: inout ByteWriter) {
    guard let tail else { preconditionFailure("a range was written before it was measured") }
    if tail.hasMore { reply.append(field: 3, varint: UInt64(1)) }
    reply.append(field: 4, varint: Int64(tail.count))
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

  /// Begins a range whose one response is written in pieces. The request must be `isStreamable` and
  /// not ask for the count alone; its bytes are copied. Throws `.compacted` or `.futureRevision`.
  /// Any thread.
  package func rangePieces(
    _ request: Etcdserverpb.RangeRequest.View,
    header: ResponseHeader
  ) throws(StoreError) -> RangePieces {
    precondition(Self.isStreamable(request) && !request.countOnly)
    statistics.rangeCounter.add(1, ordering: .relaxed)
    return try RangePieces(request, store: self, header: header)
  }
}

package import Base
package import Proto
import Synchronization

// Ranges: any thread, with a reader of its own.
extension Store {
  /// Appends the whole RangeResponse. Throws `.compacted`, `.futureRevision` or `.corrupt`, with
  /// nothing written.
  package func range(
    _ request: Etcdserverpb.RangeRequest.View,
    header: ResponseHeader,
    reader: StoreReader,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    statistics.rangeCounter.add(1, ordering: .relaxed)
    if request.rangeEnd.isEmpty && request.isPlain {
      return try rangeOfOneKey(request, header: header, reader: reader, into: &reply)
    }
    let start = reply.count
    do throws(StoreError) {
      try withReadContext(reader) { context throws(StoreError) in
        reply.truncate(to: start)
        let wanted = try context.readRevision(request)
        header.write(revision: Revision(context.revision), into: &reply)
        try context.appendRange(request, at: wanted, into: &reply)
      }
    } catch {
      reply.truncate(to: start)
      throw error
    }
  }

  /// The short way for the commonest request: one hold of the lock, no pin.
  private func rangeOfOneKey(
    _ request: Etcdserverpb.RangeRequest.View,
    header: ResponseHeader,
    reader: StoreReader,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    let start = reply.count
    while true {
      let before = generation.load(ordering: .acquiring)
      do throws(StoreError) {
        try lookUpOneKey(request, header: header, reader: reader, into: &reply)
        if isUnchanged(since: before) { return }
      } catch {
        if isUnchanged(since: before) { throw error }
      }
      reply.truncate(to: start)
    }
  }

  @inline(__always)
  private func lookUpOneKey(
    _ request: Etcdserverpb.RangeRequest.View,
    header: ResponseHeader,
    reader: StoreReader,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    reader.begin()
    defer { reader.end() }
    lock.lockForReading()
    let newest = current
    let wanted = request.revision <= 0 ? newest : request.revision
    let oldest = compacted
    guard wanted <= newest && wanted >= oldest else {
      lock.unlock()
      throw wanted > newest ? .futureRevision : .compacted
    }
    let change = index.change(of: request.key, at: wanted)
    lock.unlock()
    let start = reply.count
    header.write(revision: Revision(newest), into: &reply)
    guard let change else { return }
    do throws(StoreError) {
      reply.append(field: 2, content: try reader.pair(change.main, change.sub))
    } catch {
      reply.truncate(to: start)
      throw error
    }
    reply.append(field: 4, varint: Int64(1))
  }

  /// About how many keys a range would visit, in O(log n): to decide where it should run.
  package func estimateCount(_ request: Etcdserverpb.RangeRequest.View) -> Int {
    if request.rangeEnd.isEmpty { return 1 }
    let span = KeySpan(key: request.key, rangeEnd: request.rangeEnd)
    lock.lockForReading()
    defer { lock.unlock() }
    let isOld = request.revision > 0 && request.revision < current
    if request.countOnly && !isOld { return 1 }
    let total = index.liveCount(in: span)
    let visitsAll = isOld || request.needsGathering
    return request.limit > 0 && !visitsAll ? min(total, Int(request.limit)) : total
  }

  /// The same for all ranges and compares of a txn together, nested ones included.
  package func estimateCount(_ request: Etcdserverpb.TxnRequest.View) -> Int {
    var total = 0
    for compare in request.compare {
      if compare.rangeEnd.isEmpty {
        total += 1
        continue
      }
      let span = KeySpan(key: compare.key, rangeEnd: compare.rangeEnd)
      lock.lockForReading()
      total += index.liveCount(in: span)
      lock.unlock()
    }
    for branch in [request.success, request.failure] {
      for operation in branch {
        switch operation.request {
        case .requestRange(let range): total += estimateCount(range)
        case .requestTxn(let nested): total += estimateCount(nested)
        case .requestPut, .requestDeleteRange, nil: total += 1
        }
      }
    }
    return total
  }
}

extension Etcdserverpb.RangeRequest.View {
  /// Whether filters cut pairs by their revisions.
  var hasFilters: Bool {
    minModRevision != 0 || maxModRevision != 0 || minCreateRevision != 0 || maxCreateRevision != 0
  }

  /// Whether pairs are to be sorted: not when the order is by key and ascending, which they have.
  var isSorted: Bool {
    let isByKey = sortTarget == .key
    return isByKey ? sortOrder == .descend : true
  }

  /// Whether the whole span must be gathered before the first pair can be given.
  var needsGathering: Bool { isSorted || hasFilters }

  /// Whether nothing is asked that changes which pairs come, how or in which order.
  fileprivate var isPlain: Bool { !hasFilters && !keysOnly && !countOnly && !isSorted }
}

extension ReadContext {
  /// Appends what follows the header of a RangeResponse.
  func appendRange(
    _ request: Etcdserverpb.RangeRequest.View,
    at wanted: Int64,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    let span = KeySpan(key: request.key, rangeEnd: request.rangeEnd)
    if request.countOnly {
      reply.append(field: 4, varint: Int64(count(span, at: wanted)))
      return
    }
    if request.needsGathering {
      try appendGathered(request, span, at: wanted, into: &reply)
    } else {
      try appendInOrder(request, span, at: wanted, into: &reply)
    }
  }

  /// Pairs by key, ascending: written as they are resolved.
  private func appendInOrder(
    _ request: Etcdserverpb.RangeRequest.View,
    _ span: KeySpan,
    at wanted: Int64,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    let limit = request.limit > 0 ? Int(request.limit) : .max
    var written = 0
    var hasMore = true
    while hasMore && written < limit {
      hasMore = resolve(span, at: wanted, limit: limit - written, continuing: written > 0)
      for position in 0..<reader.chunkCount {
        let key = reader.chunk[position]
        try append(try reader.pair(key.main, key.sub), keysOnly: request.keysOnly, into: &reply)
      }
      written += reader.chunkCount
    }
    if hasMore {
      reply.append(field: 3, varint: UInt64(1))
      reply.append(field: 4, varint: Int64(count(span, at: wanted)))
    } else {
      reply.append(field: 4, varint: Int64(written))
    }
  }

  @inline(__always)
  func append(
    _ pair: UnsafeRawBufferPointer,
    keysOnly: Bool,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    guard keysOnly else { return reply.append(field: 2, content: pair) }
    guard let parts = KeyValueBytes(pair) else { throw .corrupt }
    parts.appendWithoutValue(field: 2, into: &reply)
  }

  /// Pairs that are filtered or sorted: all gathered first.
  private func appendGathered(
    _ request: Etcdserverpb.RangeRequest.View,
    _ span: KeySpan,
    at wanted: Int64,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    defer {
      reader.gathered.removeAll(keepingCapacity: reader.gathered.count < StoreReader.chunkKeysMax)
    }
    let limit = request.limit > 0 ? Int(request.limit) : .max
    // As etcd does: with order NONE and no filter, only the first limit + 1 pairs are sorted.
    let sortsAll = request.sortOrder != .none || request.hasFilters || limit == .max
    let gatherLimit = sortsAll ? Int.max : limit + 1
    var total = 0
    var hasMore = true
    while hasMore && total < gatherLimit {
      hasMore = resolve(span, at: wanted, limit: gatherLimit - total, continuing: total > 0)
      for position in 0..<reader.chunkCount {
        let key = reader.chunk[position]
        if !request.admits(mod: key.main, knownCreate: key.createMain) { continue }
        guard let bytes = KeyValueBytes(try reader.pair(key.main, key.sub)) else { throw .corrupt }
        if !request.admits(create: bytes.createRevision) { continue }
        reader.gathered.append(GatheredPair(bytes: bytes, position: reader.gathered.count))
      }
      total += reader.chunkCount
    }
    if request.isSorted { reader.gathered.sort(by: request.pairOrder) }
    for pair in reader.gathered.prefix(limit) {
      if request.keysOnly {
        pair.bytes.appendWithoutValue(field: 2, into: &reply)
      } else {
        reply.append(field: 2, content: pair.bytes.encoded)
      }
    }
    if reader.gathered.count > limit { reply.append(field: 3, varint: UInt64(1)) }
    let counted = hasMore ? count(span, at: wanted) : total
    reply.append(field: 4, varint: Int64(counted))
  }
}

extension Etcdserverpb.RangeRequest.View {
  /// Whether the filters let a pair through, as far as the index can tell.
  fileprivate func admits(mod: Int64, knownCreate create: Int64) -> Bool {
    if minModRevision != 0 && mod < minModRevision { return false }
    if maxModRevision != 0 && mod > maxModRevision { return false }
    return create == 0 || admits(create: create)
  }

  fileprivate func admits(create: Int64) -> Bool {
    if minCreateRevision != 0 && create < minCreateRevision { return false }
    return maxCreateRevision == 0 || create <= maxCreateRevision
  }

  /// Which of two pairs comes first. Equal ones stay in the order of their keys, in either
  /// direction.
  fileprivate var pairOrder: (GatheredPair, GatheredPair) -> Bool {
    let target = sortTarget
    let sign = sortOrder == .descend ? -1 : 1
    return { left, right in
      let order: Int
      switch target {
      case .version: order = compareNumbers(left.bytes.version, right.bytes.version)
      case .create: order = compareNumbers(left.bytes.createRevision, right.bytes.createRevision)
      case .mod: order = compareNumbers(left.bytes.modRevision, right.bytes.modRevision)
      case .value: order = compareKeys(left.bytes.value, right.bytes.value)
      default: order = compareKeys(left.bytes.key, right.bytes.key)
      }
      return order == 0 ? left.position < right.position : order * sign < 0
    }
  }
}

@inline(__always)
func compareNumbers(_ left: Int64, _ right: Int64) -> Int {
  left < right ? -1 : left > right ? 1 : 0
}

package import Base
package import Proto
import Synchronization

extension Store {
  /// Applies a txn: apply thread, inside a batch. Appends the whole response, or throws
  /// `.keyNotFound`, `.leaseNotFound`, `.compacted` or `.futureRevision` with nothing written and
  /// nothing changed.
  ///
  /// As in etcd, all compares, those of nested txns included, see the store as it is before the
  /// txn; operations see what earlier ones of the txn wrote.
  package func txn(
    _ request: Etcdserverpb.TxnRequest.View,
    header: ResponseHeader,
    reply: inout ByteWriter
  ) throws(StoreError) {
    let context = ReadContext(
      store: self,
      reader: applyReader,
      revision: current,
      compacted: compacted,
      isApply: true
    )
    try context.evaluate(request)
    var step = 0
    var deletedFrom: UnsafeRawBufferPointer?
    try checkWrites(request, &step, &deletedFrom)
    step = 0
    try context.checkRanges(request, &step)
    step = 0
    StoreStatistics.add(1, to: statistics.txnCounter)
    var change = Transaction(main: current + 1)
    let start = reply.count
    step = 0
    appendTxn(request, &step, in: &change, reply: &reply)
    current = change.readRevision
    prependHeader(header, at: start, reply: &reply)
  }

  /// Answers a txn that writes nothing: any thread. Throws `.compacted`, `.futureRevision` or
  /// `.corrupt` with nothing written.
  package func readOnlyTxn(
    _ request: Etcdserverpb.TxnRequest.View,
    header: ResponseHeader,
    reader: StoreReader,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    precondition(Self.isReadOnly(request), "a txn that writes came to the read side")
    let start = reply.count
    do throws(StoreError) {
      try withReadContext(reader) { context throws(StoreError) in
        reply.truncate(to: start)
        try context.evaluate(request)
        var step = 0
        try context.checkRanges(request, &step)
        header.write(revision: Revision(context.revision), into: &reply)
        step = 0
        try context.appendReadOnlyTxn(request, &step, reply: &reply)
      }
    } catch {
      reply.truncate(to: start)
      throw error
    }
  }

  /// Puts the header before what was written since `start`: its revision is known only at the end.
  private func prependHeader(_ header: ResponseHeader, at start: Int, reply: inout ByteWriter) {
    headerScratch.removeAll()
    header.write(revision: Revision(current), into: &headerScratch)
    reply.openGap(headerScratch.count, at: start)
    let end = reply.count
    reply.truncate(to: start)
    reply.append(headerScratch.bytes)
    reply.advance(by: end - reply.count)
  }

  /// Checks the puts of the branches taken, as far as that needs state.
  ///
  /// A put that keeps the value or lease of its key fails where an earlier operation of the txn
  /// deletes the key. Only "from key on" can: what other intervals delete and the txn puts is
  /// refused before. `deletedFrom` is the lowest start of such deletes so far. (etcd panics here.)
  private func checkWrites(
    _ request: Etcdserverpb.TxnRequest.View,
    _ step: inout Int,
    _ deletedFrom: inout UnsafeRawBufferPointer?
  ) throws(StoreError) {
    let branch = applyReader.txnPath[step] ? request.success : request.failure
    step += 1
    for operation in branch {
      switch operation.request {
      case .requestPut(let put):
        if put.ignoreValue || put.ignoreLease {
          if let deletedFrom, compareKeys(put.key, deletedFrom) >= 0 { throw .keyNotFound }
          try checkExists(put.key)
        }
        if put.lease != 0 { try checkLease(put.lease) }
      case .requestDeleteRange(let delete):
        guard delete.rangeEnd.count == 1, delete.rangeEnd[0] == 0 else { continue }
        if let lowest = deletedFrom, compareKeys(lowest, delete.key) <= 0 { continue }
        deletedFrom = delete.key
      case .requestTxn(let nested): try checkWrites(nested, &step, &deletedFrom)
      case .requestRange, nil: continue
      }
    }
  }

  /// Carries out the branch taken and appends the fields after the header.
  private func appendTxn(
    _ request: Etcdserverpb.TxnRequest.View,
    _ step: inout Int,
    in change: inout Transaction,
    reply: inout ByteWriter
  ) {
    let succeeded = applyReader.txnPath[step]
    step += 1
    reply.append(field: 2, varint: UInt64(succeeded ? 1 : 0))
    for operation in succeeded ? request.success : request.failure {
      let start = reply.count
      switch operation.request {
      case .requestRange(let range):
        appendRange(range, in: change, reply: &reply)
        reply.closeField(1, since: start)
      case .requestPut(let put):
        ResponseHeader.writeNested(revision: change.main, into: &reply)
        applyPut(put, in: &change, reply: &reply)
        reply.closeField(2, since: start)
      case .requestDeleteRange(let delete):
        let span = KeySpan(key: delete.key, rangeEnd: delete.rangeEnd)
        let writes = change.count > 0 || containsLive(span)
        ResponseHeader.writeNested(
          revision: writes ? change.main : change.main - 1,
          into: &reply
        )
        applyDelete(delete, in: &change, reply: &reply)
        reply.closeField(3, since: start)
      case .requestTxn(let nested):
        // A nested txn's header is there and empty.
        reply.append(field: 1, lengthOfContent: 0)
        appendTxn(nested, &step, in: &change, reply: &reply)
        reply.closeField(4, since: start)
      case nil: continue
      }
      reply.closeField(3, since: start)
    }
  }

  private func appendRange(
    _ request: Etcdserverpb.RangeRequest.View,
    in change: Transaction,
    reply: inout ByteWriter
  ) {
    statistics.rangeCounter.add(1, ordering: .relaxed)
    let context = ReadContext(
      store: self,
      reader: applyReader,
      revision: change.readRevision,
      compacted: compacted,
      isApply: true
    )
    ResponseHeader.writeNested(revision: context.revision, into: &reply)
    do throws(StoreError) {
      try context.appendRange(
        request,
        at: request.revision <= 0 ? context.revision : request.revision,
        into: &reply
      )
    } catch {
      preconditionFailure("a range within a txn failed after its checks: \(error)")
    }
  }
}

extension ReadContext {
  /// Fills the reader's path: for the txn and each nested one that is reached, in order, whether it
  /// takes its success branch.
  func evaluate(_ request: Etcdserverpb.TxnRequest.View) throws(StoreError) {
    reader.txnPath.removeAll(keepingCapacity: true)
    try evaluateNested(request)
  }

  private func evaluateNested(_ request: Etcdserverpb.TxnRequest.View) throws(StoreError) {
    var succeeded = true
    for compare in request.compare {
      succeeded = try holds(compare)
      if !succeeded { break }
    }
    reader.txnPath.append(succeeded)
    for operation in succeeded ? request.success : request.failure {
      if case .requestTxn(let nested) = operation.request { try evaluateNested(nested) }
    }
  }

  /// Whether a compare holds for every key it names. No key at all counts as one of version,
  /// revisions and lease 0, and fails a compare of values.
  private func holds(_ compare: Etcdserverpb.Compare.View) throws(StoreError) -> Bool {
    let span = KeySpan(key: compare.key, rangeEnd: compare.rangeEnd)
    var hasMore = true
    var seen = 0
    while hasMore {
      hasMore = resolve(span, at: revision, limit: .max, continuing: seen > 0)
      for position in 0..<reader.chunkCount {
        if !(try holds(compare, for: reader.chunk[position])) { return false }
      }
      seen += reader.chunkCount
    }
    if seen > 0 { return true }
    return compare.target != .value && compare.accepts(compareNumbers(0, compare.number))
  }

  private func holds(
    _ compare: Etcdserverpb.Compare.View,
    for key: ResolvedKey
  ) throws(StoreError) -> Bool {
    switch compare.target {
    case .mod:
      return compare.accepts(compareNumbers(key.main, compare.number))
    case .create where key.createMain != 0:
      return compare.accepts(compareNumbers(key.createMain, compare.number))
    case .version where key.version != 0:
      return compare.accepts(compareNumbers(key.version, compare.number))
    case .version, .create, .lease, .value:
      guard let pair = KeyValueBytes(try reader.pair(key.main, key.sub)) else { throw .corrupt }
      let order: Int
      switch compare.target {
      case .version: order = compareNumbers(pair.version, compare.number)
      case .create: order = compareNumbers(pair.createRevision, compare.number)
      case .lease: order = compareNumbers(pair.lease, compare.number)
      default: order = compareKeys(pair.value, compare.bytes)
      }
      return compare.accepts(order)
    default:
      return compare.accepts(0)
    }
  }

  /// Checks the revisions of ranges in the branches taken, before anything is written.
  func checkRanges(
    _ request: Etcdserverpb.TxnRequest.View,
    _ step: inout Int
  ) throws(StoreError) {
    let branch = reader.txnPath[step] ? request.success : request.failure
    step += 1
    for operation in branch {
      switch operation.request {
      case .requestRange(let range):
        if range.revision > revision { throw .futureRevision }
        if range.revision != 0 && range.revision < compacted { throw .compacted }
      case .requestTxn(let nested): try checkRanges(nested, &step)
      case .requestPut, .requestDeleteRange, nil: continue
      }
    }
  }

  /// Answers the branch taken of a txn that has only ranges.
  func appendReadOnlyTxn(
    _ request: Etcdserverpb.TxnRequest.View,
    _ step: inout Int,
    reply: inout ByteWriter
  ) throws(StoreError) {
    let succeeded = reader.txnPath[step]
    step += 1
    reply.append(field: 2, varint: UInt64(succeeded ? 1 : 0))
    for operation in succeeded ? request.success : request.failure {
      let start = reply.count
      switch operation.request {
      case .requestRange(let range):
        store.statistics.rangeCounter.add(1, ordering: .relaxed)
        ResponseHeader.writeNested(revision: revision, into: &reply)
        let wanted = range.revision <= 0 ? revision : range.revision
        try appendRange(range, at: wanted, into: &reply)
        reply.closeField(1, since: start)
      case .requestTxn(let nested):
        reply.append(field: 1, lengthOfContent: 0)
        try appendReadOnlyTxn(nested, &step, reply: &reply)
        reply.closeField(4, since: start)
      case .requestPut, .requestDeleteRange, nil: continue
      }
      reply.closeField(3, since: start)
    }
  }
}

extension Etcdserverpb.Compare.View {
  /// The number compared with, of the target's own kind; 0 when another kind is given.
  fileprivate var number: Int64 {
    switch (target, targetUnion) {
    case (.version, .version(let number)): number
    case (.create, .createRevision(let number)): number
    case (.mod, .modRevision(let number)): number
    case (.lease, .lease(let number)): number
    default: 0
    }
  }

  /// The value compared with; empty when another kind is given.
  fileprivate var bytes: UnsafeRawBufferPointer {
    if case .value(let bytes) = targetUnion { return bytes }
    return UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// Whether the wanted result is `order`, the sign of "stored compared with given".
  fileprivate func accepts(_ order: Int) -> Bool {
    switch result {
    case .equal: order == 0
    case .greater: order > 0
    case .less: order < 0
    case .notEqual: order != 0
    default: true
    }
  }
}

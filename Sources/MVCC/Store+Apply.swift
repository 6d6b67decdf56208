package import Base
import CSupport
package import Proto
import Storage

// Changes: apply thread, inside a batch. Each function appends the whole response message to
// `reply`, or throws with nothing written and nothing changed.
extension Store {
  /// Throws `.leaseNotFound` or `.keyNotFound`.
  package func put(
    _ request: Etcdserverpb.PutRequest.View,
    header: ResponseHeader,
    reply: inout ByteWriter
  ) throws(StoreError) {
    if request.lease != 0 { try checkLease(request.lease) }
    if request.ignoreValue || request.ignoreLease { try checkExists(request.key) }
    let main = current + 1
    let start = reply.count
    header.write(revision: Revision(main), into: &reply)
    var change = Transaction(main: main)
    applyPut(request, in: &change, reply: &reply)
    current = main
    precondition(reply.count > start)
  }

  package func deleteRange(
    _ request: Etcdserverpb.DeleteRangeRequest.View,
    header: ResponseHeader,
    reply: inout ByteWriter
  ) throws(StoreError) {
    var change = Transaction(main: current + 1)
    // How the header ends is known only once something was found.
    let span = KeySpan(key: request.key, rangeEnd: request.rangeEnd)
    let finds = containsLive(span)
    header.write(revision: Revision(finds ? change.main : current), into: &reply)
    applyDelete(request, in: &change, reply: &reply)
    precondition(finds == (change.count > 0))
    if change.count > 0 { current = change.main }
  }

  /// Deletes keys that belong together, in this order, in one revision; none when no key is there.
  package func delete(_ keys: [UnsafeRawBufferPointer]) {
    var change = Transaction(main: current + 1)
    for key in keys where index.find(key)?.isLive == true { delete(key, in: &change) }
    if change.count > 0 { current = change.main }
  }

  /// Makes `revision` the compacted one. Throws `.compacted` or `.futureRevision`.
  package func compact(
    _ request: Etcdserverpb.CompactionRequest.View,
    header: ResponseHeader,
    reply: inout ByteWriter
  ) throws(StoreError) {
    try compact(Revision(request.revision))
    header.write(revision: Revision(current), into: &reply)
  }

  /// The same by number alone.
  package func compact(_ revision: Revision) throws(StoreError) {
    if revision.rawValue <= compacted { throw .compacted }
    if revision.rawValue > current { throw .futureRevision }
    compacted = revision.rawValue
    noteInStateHash(main: compacted, sub: .max, tag: 2, bytes: nil)
  }

  func containsLive(_ span: KeySpan) -> Bool {
    if span.shape == .single { return index.find(span.key)?.isLive == true }
    return index.liveCount(in: span) > 0
  }

  func checkLease(_ lease: Int64) throws(StoreError) {
    guard let leases, leases.exists(LeaseID(lease)) else { throw .leaseNotFound }
  }

  func checkExists(_ key: UnsafeRawBufferPointer) throws(StoreError) {
    guard index.find(key)?.isLive == true else { throw .keyNotFound }
  }
}

/// One request's changes: they share the main revision and count up the sub-revision.
struct Transaction {
  let main: Int64
  var count: UInt32 = 0

  init(main: Int64) {
    self.main = main
  }

  /// The revision that a read within the transaction reads at and reports.
  var readRevision: Int64 { count > 0 ? main : main - 1 }
}

// The steps that requests and txn operations share. Nothing here can fail: checks come before.
extension Store {
  /// Puts one pair and appends the response's fields after the header.
  func applyPut(
    _ request: Etcdserverpb.PutRequest.View,
    in change: inout Transaction,
    reply: inout ByteWriter
  ) {
    var value = request.value
    var lease = request.lease
    if request.prevKV || request.ignoreValue || request.ignoreLease {
      if let record = index.find(request.key), record.isLive {
        let pair = mustReadPair(record.modMain, record.modSub)
        if request.ignoreValue { value = pair.value }
        if request.ignoreLease { lease = pair.lease }
        if request.prevKV { reply.append(field: 2, content: pair.encoded) }
      }
    }
    let life = index.put(
      request.key,
      main: change.main,
      sub: change.count,
      hasLease: lease != 0
    )
    let parts = KeyValueParts(
      key: request.key,
      createRevision: life.createMain,
      modRevision: change.main,
      version: life.version,
      value: value,
      lease: lease
    )
    let size = store(parts, isTombstone: false, in: &change)
    index.noteLastPut(pairBytes: size)
    StoreStatistics.add(1, to: statistics.putCounter)
    StoreStatistics.add(request.key.count + value.count, to: statistics.putBytesCounter)
    if life.hadLease || lease != 0, let leases {
      if life.hadLease { leases.detach(request.key) }
      if lease != 0 { leases.attach(request.key, to: LeaseID(lease)) }
    }
  }

  /// Deletes a range and appends the response's fields after the header.
  func applyDelete(
    _ request: Etcdserverpb.DeleteRangeRequest.View,
    in change: inout Transaction,
    reply: inout ByteWriter
  ) {
    let span = KeySpan(key: request.key, rangeEnd: request.rangeEnd)
    if span.shape == .single {
      guard let record = index.find(span.key), record.isLive else { return }
      reply.append(field: 2, varint: Int64(1))
      if request.prevKV {
        let pair = mustReadPair(record.modMain, record.modSub)
        reply.append(field: 3, content: pair.encoded)
      }
      delete(span.key, in: &change)
      return
    }
    var found: [KeyRecord] = []
    index.scan(span, at: .max) { record, _ in
      found.append(record)
      return true
    }
    reply.append(field: 2, varint: Int64(found.count))
    for record in found {
      if request.prevKV {
        let pair = mustReadPair(record.modMain, record.modSub)
        reply.append(field: 3, content: pair.encoded)
      }
      delete(record.key, in: &change)
    }
  }

  private func delete(_ key: UnsafeRawBufferPointer, in change: inout Transaction) {
    let hadLease = index.delete(key, main: change.main, sub: change.count)
    store(.tombstone(key), isTombstone: true, in: &change)
    StoreStatistics.add(1, to: statistics.deleteCounter)
    if hadLease { leases?.detach(key) }
  }

  /// Encodes a pair into the memtable and notes the change. Returns the pair's length.
  @discardableResult
  private func store(
    _ parts: KeyValueParts,
    isTombstone: Bool,
    in change: inout Transaction
  ) -> Int {
    let size = parts.encodedSize
    let revision = ChangeRevision(main: change.main, sub: Int64(change.count))
    storage.append(revision, tombstone: isTombstone) { writer in
      parts.encode(to: writer.reserve(size))
      writer.advance(by: size)
      noteInStateHash(
        main: revision.main,
        sub: UInt64(revision.sub),
        tag: isTombstone ? 1 : 0,
        bytes: writer.bytes
      )
      if recordsEvents {
        events.append(revision, isTombstone: isTombstone, encoded: writer.bytes)
      }
    }
    change.count += 1
    return size
  }

  /// Continues the state hash with main (8 bytes), sub (8), tag (8), all little endian, and `bytes`.
  func noteInStateHash(main: Int64, sub: UInt64, tag: UInt64, bytes: UnsafeRawBufferPointer?) {
    let words = (UInt64(bitPattern: main).littleEndian, sub.littleEndian, tag.littleEndian)
    withUnsafeBytes(of: words) {
      stateHash = martlet_crc32c(stateHash, $0.baseAddress, $0.count)
    }
    if let bytes { stateHash = martlet_crc32c(stateHash, bytes.baseAddress, bytes.count) }
  }

  /// Reads a pair that the index says is stored. Not finding it means that disk or memory lost what
  /// was applied; to go on would make this member differ from the others.
  func mustReadPair(_ main: Int64, _ sub: UInt32) -> KeyValueBytes {
    guard let bytes = try? applyReader.pair(main, sub), let pair = KeyValueBytes(bytes)
    else { preconditionFailure("revision \(main)_\(sub) does not read back") }
    return pair
  }
}

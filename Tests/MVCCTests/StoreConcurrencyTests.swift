import Base
import Foundation
import MVCC
import Proto
import Storage
import Synchronization
import Testing

/// Readers, streams, hashes, flushes and compactions beside a writer.
///
/// The writer gives all keys the same value in one txn, now and then deletes them all in one
/// request, and closes several requests into one batch. So whatever a reader sees at one revision
/// must be nothing at all or every key with one value.
private final class Workload: Sendable {
  static let keys = 120
  static let roundsMin = 300
  static let roundsMax = 20_000
  static let readsMin = 100

  let store: Store
  let isDone = Atomic<Bool>(false)
  let reads = Atomic<Int>(0)
  let faults = Mutex<[String]>([])
  /// Jobs that the writer sealed and the housekeeper has to run.
  let jobs = Mutex<[FlushJob]>([])

  init() throws {
    store = try Store(storage: TieredStorage(over: MemoryStorage()))
  }

  func fail(_ text: String) {
    faults.withLock { $0.append(text) }
  }

  // MARK: The writer

  func write() {
    let arena = Arena()
    var reply = ByteWriter()
    var random = SeededGenerator(seed: 1)
    for round in 0..<Self.roundsMax {
      if round >= Self.roundsMin && reads.load(ordering: .relaxed) >= Self.readsMin { break }
      store.beginBatch()
      for step in 0..<(1 + random.below(3)) {
        arena.reset()
        reply.removeAll()
        apply(round * 10 + step, arena, &reply, deletes: random.oneIn(6))
      }
      if random.oneIn(15) {
        let oldest = max(0, store.compactedRevision.rawValue)
        let newest = store.currentRevision.rawValue
        try? store.compact(Revision(oldest + (newest - oldest) / 2))
      }
      store.endBatch()
      if random.oneIn(8) || store.wantsFlush, let job = store.seal(metadata: []) {
        jobs.withLock { $0.append(job) }
      }
    }
    isDone.store(true, ordering: .releasing)
  }

  private func apply(_ value: Int, _ arena: Arena, _ reply: inout ByteWriter, deletes: Bool) {
    do {
      if deletes {
        let bytes = Pb.DeleteRangeRequest(key: [0], rangeEnd: [0]).encoded()
        let view = try bytes.withUnsafeBytes {
          try Pb.DeleteRangeRequest.View(decoding: $0, in: arena)
        }
        try store.deleteRange(view, header: StoreHarness.header, reply: &reply)
        return
      }
      let operations = (0..<Self.keys).map { key in
        Pb.RequestOp(
          request: .requestPut(
            Pb.PutRequest(key: Array("key-\(key)".utf8), value: Array("\(value)".utf8))
          )
        )
      }
      let bytes = Pb.TxnRequest(success: operations).encoded()
      let view = try bytes.withUnsafeBytes { try Pb.TxnRequest.View(decoding: $0, in: arena) }
      try store.txn(view, header: StoreHarness.header, reply: &reply)
    } catch {
      fail("writer: \(error)")
    }
  }

  // MARK: The housekeeper

  func keepHouse() {
    do {
      var isCompacting = true
      while !isDone.load(ordering: .acquiring) || !jobs.withLock({ $0.isEmpty }) {
        for job in jobs.withLock({ jobs in
          defer { jobs = [] }
          return jobs
        }) {
          try job.run()
          store.finish(job)
        }
        isCompacting = try store.compactionStep(limit: 50)
        if !isCompacting { _ = store.compactedRevision }
      }
    } catch {
      fail("housekeeper: \(error)")
    }
  }

  // MARK: Readers

  func read(worker: Int) {
    let reader = store.makeReader()
    let arena = Arena()
    var random = SeededGenerator(seed: UInt64(worker))
    while !isDone.load(ordering: .acquiring) {
      let newest = store.currentRevision.rawValue
      var request = Pb.RangeRequest(key: [0], rangeEnd: [0])
      if random.oneIn(2) { request.revision = max(1, newest - Int64(random.below(20))) }
      if random.oneIn(3) { request.sortTarget = .mod }
      do {
        switch random.below(8) {
        case 0: _ = try store.hashKV(revision: Revision(0), reader: reader)
        case 1:
          request.sortTarget = .key
          try check(stream(request, reader, arena), "stream \(request.revision)")
        default: try check(range(request, reader, arena), "range \(request.revision)")
        }
        reads.add(1, ordering: .relaxed)
      } catch StoreError.compacted {
        // The revision went away between choosing and reading it.
      } catch {
        fail("reader \(worker): \(error)")
        return
      }
    }
  }

  private func range(
    _ request: Pb.RangeRequest,
    _ reader: StoreReader,
    _ arena: Arena
  ) throws -> [Pb.RangeResponse] {
    arena.reset()
    var reply = ByteWriter()
    let view = try request.encoded().withUnsafeBytes {
      try Pb.RangeRequest.View(decoding: $0, in: arena)
    }
    try store.range(view, header: StoreHarness.header, reader: reader, into: &reply)
    return [try Pb.RangeResponse(decoding: reply.bytes)]
  }

  private func stream(
    _ request: Pb.RangeRequest,
    _ reader: StoreReader,
    _ arena: Arena
  ) throws -> [Pb.RangeResponse] {
    arena.reset()
    let view = try request.encoded().withUnsafeBytes {
      try Pb.RangeRequest.View(decoding: $0, in: arena)
    }
    let cursor = try store.rangeCursor(view, header: StoreHarness.header)
    var parts: [Pb.RangeResponse] = []
    var hasMore = true
    while hasMore {
      var reply = ByteWriter()
      hasMore = try cursor.next(bytesMax: 500, reader: reader, into: &reply)
      let message = try Pb.RangeStreamResponse(decoding: reply.bytes)
      parts.append(message.rangeResponse ?? Pb.RangeResponse())
    }
    return parts
  }

  private func check(_ parts: [Pb.RangeResponse], _ note: String) {
    let pairs = parts.flatMap(\.kvs)
    let count = Int(parts.last?.count ?? -1)
    if pairs.count != count || (count != 0 && count != Self.keys) {
      fail("\(note): \(pairs.count) pairs, count \(count)")
    }
    if Set(pairs.map(\.value)).count > 1 { fail("\(note): several values") }
    if Set(pairs.map(\.modRevision)).count > 1 { fail("\(note): several revisions") }
  }
}

@Suite struct StoreConcurrencyTests {
  @Test func readersSeeWholeRequests() throws {
    let workload = try Workload()
    let group = DispatchGroup()
    for worker in 0..<5 {
      group.enter()
      Thread.detachNewThread {
        switch worker {
        case 0: workload.write()
        case 1: workload.keepHouse()
        default: workload.read(worker: worker)
        }
        group.leave()
      }
    }
    group.wait()
    #expect(workload.faults.withLock { $0 }.prefix(5) == [])
    #expect(workload.reads.load(ordering: .relaxed) >= Workload.readsMin)
    #expect(workload.store.compactedRevision > Revision(0))
  }
}

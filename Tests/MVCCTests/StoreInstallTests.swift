import Base
import Foundation
import MVCC
import Proto
import Storage
import Synchronization
import Testing

/// A snapshot takes the store's place while others read it.
struct StoreInstallTests {
  private typealias Pb = Etcdserverpb
  private static let keys = 300
  private static let rounds = 40

  /// A member that goes on, and gives copies of itself.
  private final class Source {
    let disk = MemoryDisk()
    let harness: StoreHarness
    var copies = 0

    init() throws {
      harness = try StoreHarness(disk: disk)
    }

    /// All keys get the same value, one after the other, and old revisions go.
    func advance(_ round: Int) throws {
      for key in 0..<StoreInstallTests.keys { try harness.put("key-\(1000 + key)", "\(round)") }
      let newest = harness.store.currentRevision.rawValue
      _ = try harness.compact(newest - Int64(StoreInstallTests.keys) / 2)
      try harness.flush()
      try harness.finishCompaction()
      try harness.flush()
    }

    /// Brings a copy to `target`'s disk and installs it.
    func install(in target: Store, _ targetDisk: MemoryDisk) throws {
      copies += 1
      let path = "copy-\(copies)"
      try MemoryStorage(disk: disk).copyCompacted(to: path)
      targetDisk.setContent(disk.content(at: path), at: path)
      let content = try StoreContent(
        reading: MemoryStorage(disk: targetDisk, path: path),
        leases: nil
      )
      try target.install(content, from: path) {}
    }
  }

  @Test func readersSeeTheOldStateOrTheNewOne() throws {
    let source = try Source()
    try source.advance(0)
    let targetDisk = MemoryDisk()
    let target = try Store(storage: TieredStorage(over: MemoryStorage(disk: targetDisk)))
    try source.install(in: target, targetDisk)
    let isDone = Atomic<Bool>(false)
    let reads = Atomic<Int>(0)
    let faults = Mutex<[String]>([])
    let group = DispatchGroup()
    for number in 0..<2 {
      group.enter()
      Thread.detachNewThread {
        defer { group.leave() }
        let reader = target.makeReader()
        var last: Int64 = 0
        while !isDone.load(ordering: .acquiring) {
          let fault =
            number == 0 ? Self.range(target, reader, &last) : Self.scan(target, reader, &last)
          if let fault {
            faults.withLock { $0.append(fault) }
            return
          }
          reads.add(1, ordering: .relaxed)
        }
      }
    }
    for round in 1...Self.rounds {
      try source.advance(round)
      try source.install(in: target, targetDisk)
      #expect(target.currentRevision == source.harness.store.currentRevision)
      #expect(target.stateHash == source.harness.store.stateHash)
    }
    isDone.store(true, ordering: .releasing)
    group.wait()
    #expect(faults.withLock { $0 } == [])
    #expect(reads.load(ordering: .relaxed) > 0)
  }

  /// Every key once, with a value that no later key exceeds and none undercuts by more than one.
  private static func range(_ store: Store, _ reader: StoreReader, _ last: inout Int64) -> String? {
    var reply = ByteWriter()
    let arena = Arena()
    let request = Pb.RangeRequest(key: [0], rangeEnd: [0]).encoded()
    let header = ResponseHeader(clusterID: ClusterID(1), memberID: MemberID(1), raftTerm: Term(1))
    do {
      try request.withUnsafeBytes { bytes in
        try store.range(
          Pb.RangeRequest.View(decoding: bytes, in: arena),
          header: header,
          reader: reader,
          into: &reply
        )
      }
      let response = try Pb.RangeResponse(decoding: Array(reply.bytes))
      let revision = response.header?.revision ?? 0
      if revision < last { return "revision \(revision) after \(last)" }
      last = revision
      let values = response.kvs.compactMap { Int(String(decoding: $0.value, as: UTF8.self)) }
      if values.count != keys { return "\(values.count) keys at \(revision)" }
      if zip(values, values.dropFirst()).contains(where: { $0 < $1 }) {
        return "keys of two states at \(revision)"
      }
      if let first = values.first, let lowest = values.last, first - lowest > 1 {
        return "keys of \(first) and of \(lowest) at \(revision)"
      }
      return nil
    } catch {
      return "\(error)"
    }
  }

  /// The history from where the last scan ended on: without gaps, or compacted.
  private static func scan(_ store: Store, _ reader: StoreReader, _ last: inout Int64) -> String? {
    switch store.run(EventScan(from: Revision(last + 1)), reader: reader) {
    case .compacted(let revision):
      if revision.rawValue <= last { return "compacted \(revision), which was seen" }
      last = revision.rawValue
    case .failed(let error):
      return "\(error)"
    case .events(let block):
      if block.after.rawValue != last { return "events after \(block.after), not \(last)" }
      let found = block.count
      // Each revision is one put.
      if last >= 1, Int64(found) != block.through.rawValue - last {
        return "\(found) events from \(last) to \(block.through)"
      }
      last = max(last, block.through.rawValue)
    }
    return nil
  }
}

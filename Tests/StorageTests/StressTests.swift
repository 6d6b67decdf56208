import Base
import Storage
import Synchronization
import Testing

/// Writer, flusher, compaction, defragmentation and readers at the same time. A reader must find
/// whatever the index names.
@Suite struct StressTests {
  /// What MVCC's index is to the storage: it names revisions, under a lock of its own.
  private struct Index {
    var live: [ChangeRevision] = []
    var finished = false
  }

  private final class Shared: Sendable {
    let store: TieredStorage
    let index = Mutex(Index())
    let jobs = Mutex<[FlushJob]>([])
    let errors = Mutex<[String]>([])
    let reads = Atomic<Int>(0)

    init(_ store: TieredStorage) {
      self.store = store
    }

    func report(_ text: String) {
      errors.withLock { if $0.count < 10 { $0.append(text) } }
    }

    var finished: Bool { index.withLock { $0.finished } }
  }

  @Test(arguments: [1, 2] as [UInt64])
  func readersFindWhatTheIndexNames(seed: UInt64) throws {
    let directory = TemporaryDirectory()
    try run(seed: seed, over: try LMDBStorage(path: directory.file("db")))
  }

  @Test func readersFindWhatTheIndexNamesInMemory() throws {
    try run(seed: 3, over: MemoryStorage())
  }

  private func run(seed: UInt64, over base: any RevisionStorage) throws {
    let shared = Shared(TieredStorage(over: base))
    var bodies: [@Sendable () -> Void] = [
      { write(shared, seed: seed) }, { flush(shared) }, { maintain(shared) },
    ]
    for reader in 0..<3 as Range<UInt64> {
      bodies.append { read(shared, seed: seed * 100 + reader) }
    }
    runThreads(bodies)
    let errors = shared.errors.withLock { $0 }
    #expect(errors.isEmpty, "seed \(seed): \(errors)")
    #expect(shared.reads.load(ordering: .relaxed) > 0)
    let stored = try base.contents()
    let live = shared.index.withLock { $0.live }
    #expect(Set(stored.keys) == Set(live), "seed \(seed)")
  }

  private func write(_ shared: Shared, seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    var main: Int64 = 2
    while main < 12_000 {
      for sub in 0..<Int64.random(in: 1...3, using: &generator) {
        let revision = ChangeRevision(main: main, sub: sub)
        let value = testValue(revision, length: testLength(revision))
        shared.store.append(revision, tombstone: false) { writer in
          value.withUnsafeBytes { writer.append($0) }
        }
        shared.index.withLock { $0.live.append(revision) }
      }
      main += 1
      if Int.random(in: 0..<100, using: &generator) == 0 { seal(shared, main) }
      if Int.random(in: 0..<300, using: &generator) == 0 { compact(shared, &generator) }
    }
    compact(shared, &generator)
    seal(shared, main)
    shared.index.withLock { $0.finished = true }
  }

  private func seal(_ shared: Shared, _ main: Int64) {
    if let job = shared.store.seal(metadata: [("applied", littleEndian(main))]) {
      shared.jobs.withLock { $0.append(job) }
    }
  }

  private func compact(_ shared: Shared, _ generator: inout SeededGenerator) {
    var kept: [ChangeRevision] = []
    var dropped: [ChangeRevision] = []
    let all = shared.index.withLock { $0.live }
    for revision in all {
      if Bool.random(using: &generator) { kept.append(revision) } else { dropped.append(revision) }
    }
    shared.index.withLock { $0.live = kept }
    shared.store.delete(dropped)
  }

  private func flush(_ shared: Shared) {
    do {
      while true {
        let finished = shared.finished
        let job = shared.jobs.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        if let job {
          try job.run()
          shared.store.finish(job)
        }
        let progress = try shared.store.commitDeletions(countMax: 2000)
        if finished, job == nil, progress == .idle { return }
      }
    } catch {
      shared.report("flusher: \(error)")
    }
  }

  private func maintain(_ shared: Shared) {
    do {
      repeat {
        try shared.store.defragment()
        shared.store.base.dropResidentPages()
        let stored = try shared.store.metadata("applied")
        if let stored, stored.count != 8 { shared.report("metadata of \(stored.count) bytes") }
      } while !shared.finished
    } catch {
      shared.report("maintenance: \(error)")
    }
  }

  private func read(_ shared: Shared, seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let reader = shared.store.makeReader()
    var reads = 0
    while !shared.finished {
      reader.begin()
      for _ in 0..<Int.random(in: 1...5, using: &generator) {
        let wanted = shared.index.withLock { index -> [ChangeRevision] in
          guard let newest = index.live.last else { return [] }
          var wanted = [newest]
          for _ in 0..<5 {
            wanted.append(index.live[Int.random(in: 0..<index.live.count, using: &generator)])
          }
          return wanted
        }
        for revision in wanted { check(reader, revision, shared) }
        reads += wanted.count
      }
      reader.end()
    }
    shared.reads.add(reads, ordering: .relaxed)
  }

  private func check(_ reader: StorageReader, _ revision: ChangeRevision, _ shared: Shared) {
    do {
      let expected = testValue(revision, length: testLength(revision))
      let same = try reader.withValue(of: revision) { bytes, _ in bytes.elementsEqual(expected) }
      if same != true {
        shared.report("\(revision): \(same == nil ? "not found" : "another value")")
      }
    } catch {
      shared.report("reader: \(error)")
    }
  }
}

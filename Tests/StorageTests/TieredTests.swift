import Base
import Storage
import Testing

@Suite struct TieredTests {
  private func at(_ main: Int64, _ sub: Int64 = 0) -> ChangeRevision {
    ChangeRevision(main: main, sub: sub)
  }

  private func record(_ main: Int64, _ sub: Int64 = 0) -> Record {
    Record(tombstone: false, bytes: testValue(at(main, sub), length: 40))
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func memtableFindsEveryRevisionAndNoOther(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let store = TieredStorage(over: MemoryStorage())
    var all: [ChangeRevision] = []
    var next = at(Int64.random(in: 0...5, using: &generator))
    // Dense stretches, transactions with many changes, and gaps mislead the guess in turn.
    for _ in 0..<60 {
      let kind = Int.random(in: 0..<3, using: &generator)
      for _ in 0..<Int.random(in: 1...300, using: &generator) {
        store.append(next, record(next.main, next.sub))
        all.append(next)
        switch kind {
        case 0: next = at(next.main + 1)
        case 1: next = at(next.main, next.sub + 1)
        default: next = at(next.main + Int64.random(in: 1...1000, using: &generator))
        }
      }
      next = at(next.main + 1)
    }
    let reader = store.makeReader()
    reader.begin()
    for revision in all {
      #expect(try reader.record(of: revision) == record(revision.main, revision.sub))
    }
    let known = Set(all)
    for revision in all {
      for other in [
        at(revision.main + 1), at(revision.main, revision.sub + 1), at(revision.main - 1),
      ]
      where !known.contains(other) && other >= .first {
        #expect(try reader.record(of: other) == nil, "seed \(seed): \(other)")
      }
    }
    reader.end()
  }

  @Test func metadataIsCommittedWithExactlyItsState() throws {
    let disk = MemoryDisk()
    let store = TieredStorage(over: MemoryStorage(disk: disk))
    store.append(at(2), record(2))
    let first = try #require(store.seal(metadata: [("applied", [2])]))
    store.append(at(3), record(3))
    let second = try #require(store.seal(metadata: [("applied", [3])]))
    store.append(at(4), record(4))
    try first.run()
    #expect(try store.metadata("applied") == [2])
    #expect(try Set(store.base.contents().keys) == [at(2)])
    store.finish(first)
    try second.run()
    store.finish(second)
    #expect(try store.metadata("applied") == [3])
    #expect(try Set(store.base.contents().keys) == [at(2), at(3)])
    #expect(store.seal(metadata: []) != nil)
  }

  @Test func sealOfNothingIsNoJob() throws {
    let store = TieredStorage(over: MemoryStorage())
    #expect(store.seal(metadata: []) == nil)
    #expect(store.seal(metadata: [("applied", [1])]) != nil)
  }

  @Test func failedCommitLeavesTheJobToBeRunAgain() throws {
    let base = MemoryStorage()
    let store = TieredStorage(over: base)
    store.append(at(2), record(2))
    let job = try #require(store.seal(metadata: [("applied", [2])]))
    base.setCommitFault(.diskFull(during: "test"))
    #expect(throws: StorageError.diskFull(during: "test")) { try job.run() }
    let reader = store.makeReader()
    reader.begin()
    #expect(try reader.record(of: at(2)) == record(2))
    reader.end()
    #expect(try store.metadata("applied") == nil)
    #expect(store.sealedBytes > 0)
    base.setCommitFault(nil)
    try job.run()
    store.finish(job)
    #expect(store.sealedBytes == 0)
    #expect(try store.metadata("applied") == [2])
  }

  @Test func deletionWaitsForASealAndForReadersFromBefore() throws {
    let base = MemoryStorage()
    let store = TieredStorage(over: base)
    store.append(at(2), record(2))
    store.append(at(3), record(3))
    try store.flush([("applied", [3])])
    let reader = store.makeReader()
    reader.begin()
    store.delete([at(2)])
    // Not before the compaction itself is durable.
    #expect(try store.commitDeletions() == .idle)
    #expect(store.waitingDeletions == 1)
    try store.flush([("applied", [4])])
    #expect(try store.commitDeletions() == .waitingForReaders)
    #expect(try reader.record(of: at(2)) == record(2))
    let later = store.makeReader()
    later.begin()
    reader.end()
    // One that began after the deletion cannot have been told of the revision.
    #expect(try store.commitDeletions() == .idle)
    #expect(store.waitingDeletions == 0)
    #expect(try later.record(of: at(2)) == nil)
    later.end()
    #expect(try Set(base.contents().keys) == [at(3)])
  }

  @Test func deletedBeforeTheFlushIsNeverWritten() throws {
    let base = MemoryStorage()
    let store = TieredStorage(over: base)
    for main in 2...5 as ClosedRange<Int64> { store.append(at(main), record(main)) }
    store.delete([at(4), at(2)])
    try store.flush([("applied", [5])])
    #expect(try Set(base.contents().keys) == [at(3), at(5)])
    #expect(store.waitingDeletions == 0)
  }

  @Test func deletedInAnEarlierTableIsStillPartOfThatTablesState() throws {
    let base = MemoryStorage()
    let store = TieredStorage(over: base)
    store.append(at(2), record(2))
    let first = try #require(store.seal(metadata: [("applied", [2])]))
    store.delete([at(2)])
    store.append(at(3), record(3))
    let second = try #require(store.seal(metadata: [("applied", [3])]))
    try first.run()
    store.finish(first)
    // A crash here replays from 2, where the revision had not been compacted yet.
    #expect(try Set(base.contents().keys) == [at(2)])
    try second.run()
    store.finish(second)
    #expect(try store.commitDeletions() == .idle)
    #expect(try Set(base.contents().keys) == [at(3)])
  }

  @Test func bytesStayValidUntilTheReaderEnds() throws {
    let directory = TemporaryDirectory()
    let store = TieredStorage(over: try LMDBStorage(path: directory.file("db")))
    let reader = store.makeReader()
    reader.begin()
    var held: [(ChangeRevision, RevisionValue)] = []
    for main in 2..<40 as Range<Int64> {
      store.append(at(main), record(main))
      if main % 3 == 0 { try store.flush([("applied", littleEndian(main))]) }
      if main % 7 == 0 { try store.defragment() }
      for revision in [at(main), at(main / 2)] where revision.main >= 2 {
        held.append((revision, try #require(try reader.value(of: revision))))
      }
    }
    for (revision, value) in held {
      #expect([UInt8](value.bytes) == record(revision.main).bytes, "\(revision)")
    }
    reader.end()
  }

  @Test func installReplacesEverything() throws {
    let directory = TemporaryDirectory()
    let source = TieredStorage(over: try LMDBStorage(path: directory.file("source")))
    for main in 2..<50 as Range<Int64> { source.append(at(main), record(main)) }
    try source.flush([("applied", [49])])
    try source.copySnapshot(to: directory.file("copy"))

    let store = TieredStorage(over: try LMDBStorage(path: directory.file("db")))
    store.append(at(2), record(9))
    let void = try #require(store.seal(metadata: [("applied", [2])]))
    store.append(at(3), record(9))
    try store.install(from: directory.file("copy"))
    try void.run()
    store.finish(void)
    #expect(try store.metadata("applied") == [49])
    #expect(store.activeBytes == 0)
    #expect(store.sealedBytes == 0)
    store.append(at(50), record(50))
    let reader = store.makeReader()
    reader.begin()
    for main in 2...50 as ClosedRange<Int64> {
      #expect(try reader.record(of: at(main)) == record(main))
    }
    reader.end()
    #expect(!directory.names.contains("copy"))
  }
}

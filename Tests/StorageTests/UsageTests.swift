import Base
import Storage
import Testing

/// What the data takes is counted once wherever it is: the quota goes by it.
@Suite struct UsageTests {
  @Test func nothingIsCountedTwiceOnItsWayToTheFile() throws {
    let directory = TemporaryDirectory()
    let base = try LMDBStorage(path: directory.file("store"))
    let store = TieredStorage(over: base)
    let empty = store.bytesInUse
    #expect(empty == base.bytesInUse)
    let value = Record(tombstone: false, bytes: [UInt8](repeating: 7, count: 10_000))
    let revisions = (2..<302).map { ChangeRevision(main: $0, sub: 0) }
    for revision in revisions { store.append(revision, value) }
    store.noteActiveBytes()
    let inMemory = store.bytesInUse
    #expect((3_000_000...3_300_000).contains(inMemory - empty))
    let job = try #require(store.seal(metadata: []))
    store.noteActiveBytes()
    #expect(store.bytesInUse == inMemory, "sealing moves it")
    try job.run()
    #expect(base.bytesInUse > 3_000_000)
    #expect(store.bytesInUse == inMemory, "committed, and not dropped from memory yet")
    store.finish(job)
    #expect(store.bytesInUse == base.bytesInUse)
    let full = store.bytesInUse

    store.delete(Array(revisions.dropLast(10)))
    let after = try #require(store.seal(metadata: []))
    try after.run()
    store.finish(after)
    #expect(store.bytesInUse >= full)
    while try store.commitDeletions(countMax: 100) == .more {}
    #expect(store.bytesInUse < full / 10, "deleted: it falls by itself")
    #expect(base.bytesOnDisk >= full, "and the file stays as large")
    try store.defragment()
    #expect(base.bytesOnDisk < full / 4)
    #expect(store.bytesInUse == base.bytesInUse)
  }

  @Test func aCancelledDefragmentationChangesNothing() throws {
    let directory = TemporaryDirectory()
    let base = try LMDBStorage(path: directory.file("store"))
    let store = TieredStorage(over: base)
    let value = Record(tombstone: false, bytes: [UInt8](repeating: 7, count: 10_000))
    for main in 2..<1000 { store.append(ChangeRevision(main: Int64(main), sub: 0), value) }
    let job = try #require(store.seal(metadata: []))
    try job.run()
    store.finish(job)
    var asked = 0
    do {
      try store.defragment(isCancelled: {
        asked += 1
        return asked > 2
      })
      Issue.record("it went on")
    } catch {
      #expect(error == .cancelled)
    }
    #expect(asked == 3, "it is asked between two batches")
    #expect(!directory.names.contains { $0.contains("defrag") })
    var count = 0
    try base.scanAll { _, _, _ in
      count += 1
      return true
    }
    #expect(count == 998)
  }
}

import Base
import Glibc
import Storage
import Testing

/// What `LMDBStorage` does with the file: refusals, growth, space, memory.
@Suite struct FileTests {
  private let directory = TemporaryDirectory()

  private var path: String { directory.file("db") }

  private func fill(_ base: LMDBStorage, _ mains: Range<Int64>, bytes: Int = 300) throws {
    let store = TieredStorage(over: base)
    for main in mains {
      let revision = ChangeRevision(main: main, sub: 0)
      store.append(revision, Record(tombstone: false, bytes: testValue(revision, length: bytes)))
    }
    try store.flush([("applied", littleEndian(mains.upperBound))])
  }

  private func expectRefusal(_ path: String, _ matches: (StorageError) -> Bool) {
    do throws(StorageError) {
      _ = try LMDBStorage(path: path)
      Issue.record("\(path) was opened")
    } catch {
      #expect(matches(error), "\(error)")
    }
  }

  @Test func secondOpeningIsRefused() throws {
    let first = try LMDBStorage(path: path)
    expectRefusal(path) { $0 == .inUse(path: path) }
    withExtendedLifetime(first) {}
  }

  @Test func closedStoreCanBeOpenedAgain() throws {
    for round in 1...3 as ClosedRange<Int64> {
      let base = try LMDBStorage(path: path)
      try fill(base, round * 10..<round * 10 + 10)
    }
    let base = try LMDBStorage(path: path)
    #expect(try base.contents().count == 30)
    #expect(integer(try base.metadata("applied")) == 40)
    #expect(try base.metadata("unknown") == nil)
    #expect(directory.names == ["db", "db.owner"])
  }

  @Test func newerFormatIsRefused() throws {
    try fill(try LMDBStorage(path: path), 2..<10)
    // The record of the format: 4 bytes of data, no flags, a key of 1 byte.
    let old: [UInt8] = [4, 0, 0, 0, 0, 0, 1, 0, UInt8(ascii: "f"), 1, 0, 0, 0]
    var content = readFile(path)
    var patched = 0
    for start in 0..<content.count - old.count
    where content[start] == 4 && content[start..<start + old.count].elementsEqual(old) {
      content[start + 9] = 2
      patched += 1
    }
    #expect(patched > 0)
    writeFile(path, content)
    expectRefusal(path) { $0 == .formatNewer(path: path, found: 2, supported: 1) }
  }

  @Test func otherFilesAreRefused() throws {
    func isForeign(_ error: StorageError) -> Bool {
      if case .notAStore = error { true } else { false }
    }
    writeFile(path, Array("short".utf8))
    expectRefusal(path, isForeign)
    writeFile(path, [UInt8](repeating: 0x42, count: 100_000))
    expectRefusal(path, isForeign)
    unlink(path)
    mkdir(path, 0o700)
    expectRefusal(path, isForeign)
    rmdir(path)
    expectRefusal(directory.file("missing/db")) {
      if case .io(_, let code, _) = $0 { code == ENOENT } else { false }
    }
    writeFile(path, [])
    #expect(try LMDBStorage(path: path).contents().isEmpty)
  }

  @Test func truncatedFileIsRefused() throws {
    try fill(try LMDBStorage(path: path), 2..<2000)
    let content = readFile(path)
    for size in [content.count / 2, content.count - 4096, 8192, 12_288] {
      writeFile(path, Array(content[..<size]))
      expectRefusal(path) { if case .corrupt = $0 { true } else { false } }
    }
  }

  @Test(arguments: 1...60 as ClosedRange<UInt64>)
  func damagedCopyIsRefusedOrReadable(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let base = try LMDBStorage(path: path)
    try fill(base, 2..<600, bytes: seed % 2 == 0 ? 300 : 5000)
    try base.commit(
      RevisionBatch(deletions: (100..<200).map { ChangeRevision(main: $0, sub: 0) }[...])
    )
    let copy = directory.file("copy")
    if seed % 3 == 0 {
      writeFile(copy, readFile(path))
    } else {
      try base.copyCompacted(to: copy)
    }
    var content = readFile(copy)
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
      // Headers of pages and the first records are where damage does most harm.
      let page = Int.random(in: 0..<content.count / 4096, using: &generator) * 4096
      let offset =
        page + Int.random(in: 0..<(Bool.random(using: &generator) ? 160 : 4096), using: &generator)
      content[offset] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &generator)
    }
    writeFile(copy, content)
    do {
      try base.install(from: copy)
    } catch {
      #expect(try base.contents().count == 498)  // untouched
      return
    }
    _ = try? base.contents()
    try? fill(base, 1000..<1100)
  }

  @Test func mapGrowsWithTheFile() throws {
    var options = LMDBStorage.Options()
    options.mapBytes = 16 << 20
    let base = try LMDBStorage(path: path, options: options)
    let store = TieredStorage(over: base)
    let idle = store.makeReader()
    for round in 0..<6 as Range<Int64> {
      for main in round * 10_000 + 2..<(round + 1) * 10_000 + 2 {
        let revision = ChangeRevision(main: main, sub: 0)
        store.append(revision, Record(tombstone: false, bytes: testValue(revision, length: 600)))
      }
      try store.flush()
      idle.begin()
      let first = ChangeRevision(main: 2, sub: 0)
      #expect(try idle.record(of: first)?.bytes == testValue(first, length: 600))
      idle.end()
    }
    #expect(base.bytesOnDisk > 32 << 20)
    #expect(try base.contents().count == 60_000)
  }

  @Test func endedReaderPinsNothing() throws {
    func grownBytes(holding: Bool) throws -> Int {
      let path = directory.file("db\(holding)")
      let base = try LMDBStorage(path: path)
      try fill(base, 2..<1500)
      let reader = base.makeReader()
      let tiered = TieredStorage(over: base).makeReader()
      tiered.begin()
      _ = try tiered.value(of: ChangeRevision(main: 2, sub: 0))
      if !holding { tiered.end() }
      let before = base.bytesOnDisk
      for round in 1..<25 as Range<Int64> {
        let old = (2..<1500).map { ChangeRevision(main: (round - 1) * 1500 + $0, sub: 0) }
        try fill(base, round * 1500 + 2..<round * 1500 + 1500)
        try base.commit(RevisionBatch(deletions: old[...]))
      }
      if holding { tiered.end() }
      withExtendedLifetime(reader) {}
      return base.bytesOnDisk - before
    }
    let free = try grownBytes(holding: false)
    let held = try grownBytes(holding: true)
    #expect(free < 3 << 20, "grew by \(free)")
    #expect(held > 4 * free, "grew by \(held) with a reader, \(free) without")
  }

  @Test func defragmentGivesSpaceBack() throws {
    let base = try LMDBStorage(path: path)
    try fill(base, 2..<20_000)
    // Every second one: pages stay half full.
    let doomed = (1..<9000).map { ChangeRevision(main: $0 * 2, sub: 0) }
    try base.commit(RevisionBatch(deletions: doomed[...]))
    let before = base.bytesOnDisk
    let content = try base.contents()
    try base.defragment()
    #expect(base.bytesOnDisk < before * 7 / 10)
    #expect(base.bytesInUse <= base.bytesOnDisk)
    #expect(try base.contents() == content)
    #expect(integer(try base.metadata("applied")) == 20_000)
    #expect(directory.names == ["db", "db.owner"])
  }

  @Test(arguments: [true, false])
  func metadataIsRemovedAndListed(_ isMemory: Bool) throws {
    let base: any RevisionStorage =
      isMemory ? MemoryStorage() : try LMDBStorage(path: path)
    let store = TieredStorage(over: base)
    func listed(_ prefix: String) throws -> [String: [UInt8]] {
      var names: [String] = []
      var found: [String: [UInt8]] = [:]
      try store.forEachMetadata(prefix: prefix) { key, value in
        names.append(key)
        found[key] = Array(value)
      }
      #expect(names == names.sorted())
      return found
    }
    let revision = ChangeRevision(main: 2, sub: 0)
    store.append(revision, Record(tombstone: false, bytes: testValue(revision, length: 10)))
    try store.flush([("a", [1]), ("p.2", [2]), ("p.10", []), ("q", [3]), ("p.3", [4])])
    #expect(try listed("p.") == ["p.10": [], "p.2": [2], "p.3": [4]])
    // Nil removes, a key that is not there included; the last word on a key counts.
    try store.flush([("p.2", nil), ("p.77", nil), ("p.3", nil), ("p.3", [5]), ("p.4", [6])])
    #expect(try listed("p.") == ["p.10": [], "p.3": [5], "p.4": [6]])
    #expect(try store.metadata("p.2") == nil)
    try base.defragment()
    #expect(try listed("") == ["a": [1], "p.10": [], "p.3": [5], "p.4": [6], "q": [3]])
    #expect(try listed("z").isEmpty)
    #expect(try base.contents().count == 1)
  }

  @Test func scanLeavesNothingResident() throws {
    func residentKilobytes() -> Int {
      var inFile = false
      var total = 0
      for line in String(decoding: readFile("/proc/self/smaps"), as: UTF8.self).split(
        separator: "\n"
      ) {
        if line.contains("-") && line.contains(" r") { inFile = line.hasSuffix(path) }
        if inFile, line.hasPrefix("Rss:") {
          total += Int(line.split(separator: " ")[1]) ?? 0
        }
      }
      return total
    }
    let base = try LMDBStorage(path: path)
    try fill(base, 2..<60_000)
    let reader = TieredStorage(over: base).makeReader()
    reader.begin()
    for main in 2..<60_000 as Range<Int64> {
      _ = try reader.withValue(of: ChangeRevision(main: main, sub: 0)) { bytes, _ in bytes[0] }
    }
    reader.end()
    #expect(residentKilobytes() > 10_000)
    base.dropResidentPages()
    #expect(residentKilobytes() < 500)
    #expect(try base.contents().count == 59_998)
    #expect(residentKilobytes() < 500)
  }

  @Test func copiesAndDefragmentationsAtOnce() throws {
    let base = try LMDBStorage(path: path)
    try fill(base, 2..<5000)
    let directory = directory
    runThreads([
      { for index in 0..<4 { try? base.copyCompacted(to: directory.file("a\(index)")) } },
      { for index in 0..<4 { try? base.copyCompacted(to: directory.file("b\(index)")) } },
      { for _ in 0..<4 { try? base.defragment() } },
    ])
    let content = try base.contents()
    #expect(content.count == 4998)
    for name in ["a0", "a3", "b0", "b3"] {
      #expect(try LMDBStorage(path: directory.file(name)).contents() == content)
    }
  }
}

import Base
import Foundation
import Storage
import Synchronization
import Testing

/// A store as a stream of records, and records out of a stream.
@Suite struct ExportTests {
  private let directory = TemporaryDirectory()

  /// What a stream was taken apart into.
  private struct Content: Equatable {
    var metadata: [String: [UInt8]] = [:]
    var records: [ChangeRevision: Record] = [:]

    mutating func take(_ record: StoreRecord) {
      switch record {
      case .metadata(let key, let value): metadata[key] = [UInt8](value)
      case .revision(let revision, let value):
        records[revision] = Record(tombstone: value.tombstone, bytes: [UInt8](value.bytes))
      }
    }
  }

  private static func content(of base: LMDBStorage) throws -> Content {
    var content = Content(records: try base.contents())
    try base.forEachMetadata(prefix: "") { content.metadata[$0] = [UInt8]($1) }
    return content
  }

  private static func fill(_ base: LMDBStorage, _ mains: ClosedRange<Int64>) throws {
    let store = TieredStorage(over: base)
    for main in mains {
      let revision = ChangeRevision(main: main, sub: 0)
      // Some longer than any part, some with pages of their own, most short.
      let length = main % 50 == 0 ? 70_000 : main % 7 == 0 ? 5000 : testLength(revision)
      let bytes = main % 11 == 0 ? [] : testValue(revision, length: length)
      store.append(revision, Record(tombstone: main % 5 == 0, bytes: bytes))
    }
    try store.flush([("applied", littleEndian(mains.upperBound)), ("other", [1, 2, 3])])
  }

  private static func next(_ export: LMDBExport, _ count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      used = try export.next(into: UnsafeMutableRawBufferPointer(buffer))
    }
  }

  private static func bytes(of export: LMDBExport, part: Int = 10_000) throws -> [UInt8] {
    var stream: [UInt8] = []
    while true {
      let bytes = try next(export, part)
      if bytes.isEmpty { return stream }
      stream += bytes
    }
  }

  private static func parse(_ stream: [UInt8], parts: () -> Int) throws -> Content {
    var parser = RecordParser()
    var content = Content()
    var rest = stream[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(parts()))
      rest = rest.dropFirst(part.count)
      try part.withUnsafeBytes { try parser.parse($0) { content.take($0) } }
    }
    try parser.finish()
    return content
  }

  @Test(arguments: [256, 10_000, 1 << 20])
  func whatIsExportedIsWhatIsThere(part: Int) throws {
    let base = try LMDBStorage(path: directory.file("db"))
    try Self.fill(base, 2...600)
    let expected = try Self.content(of: base)
    let export = try LMDBExport(of: base)
    defer { export.end() }
    #expect(try export.metadata("applied") == littleEndian(600))
    #expect(try export.metadata("absent") == nil)
    let stream = try Self.bytes(of: export, part: part)
    #expect(try Self.next(export, part).isEmpty)
    #expect(stream.count <= export.bytesMax)
    var generator = SeededGenerator(seed: UInt64(part))
    for most in [1, 6, 300, 100_000] {
      let content = try Self.parse(stream) { Int.random(in: 1...most, using: &generator) }
      #expect(content == expected)
    }
  }

  @Test func anEmptyStoreHasAStreamToo() throws {
    let base = try LMDBStorage(path: directory.file("db"))
    let export = try LMDBExport(of: base)
    defer { export.end() }
    let content = try Self.parse(try Self.bytes(of: export)) { 3 }
    #expect(content == Content())
  }

  @Test func neitherCommitsNorRewritesChangeIt() throws {
    let base = try LMDBStorage(path: directory.file("db"))
    try Self.fill(base, 2...400)
    let expected = try Self.content(of: base)
    let export = try LMDBExport(of: base)
    defer { export.end() }
    var stream = try Self.next(export, 5000)
    try Self.fill(base, 401...900)
    let doomed = (2...300 as ClosedRange<Int64>).map { ChangeRevision(main: $0, sub: 0) }
    try base.commit(RevisionBatch(metadata: [("other", nil)], deletions: doomed[...]))
    try Self.fill(base, 901...1000)
    stream += try Self.next(export, 50_000)
    try base.defragment()
    stream += try Self.next(export, 50_000)
    let copy = directory.file("copy")
    do {
      let other = try LMDBStorage(path: directory.file("source"))
      try Self.fill(other, 2...10)
      try other.copyCompacted(to: copy)
    }
    try base.install(from: copy)
    try base.syncInstall()
    #expect(try base.contents().count == 9)
    stream += try Self.bytes(of: export)
    #expect(try Self.parse(stream) { 4096 } == expected)
  }

  @Test func aStoreThatOutgrowsItsMapDoesNotWait() throws {
    var options = LMDBStorage.Options()
    options.mapBytes = 16 << 20
    let base = try LMDBStorage(path: directory.file("db"), options: options)
    try Self.fill(base, 2...100)
    let export = try LMDBExport(of: base)
    #expect(try !Self.next(export, 5000).isEmpty)
    let store = TieredStorage(over: base)
    for main in 1000...1040 as ClosedRange<Int64> {
      let revision = ChangeRevision(main: main, sub: 0)
      store.append(revision, Record(tombstone: false, bytes: testValue(revision, length: 1 << 20)))
    }
    try store.flush([])
    #expect(try base.contents().count == 140)
    #expect(throws: StorageError.cancelled) { try Self.next(export, 5000) }
    #expect(throws: StorageError.cancelled) { try export.metadata("applied") }
    export.end()
    let next = try LMDBExport(of: base)
    defer { next.end() }
    #expect(try Self.parse(try Self.bytes(of: next)) { 1 << 16 }.records.count == 140)
  }

  @Test func unsyncedCommitsMakeTheSameStore() throws {
    let path = directory.file("db")
    var options = LMDBStorage.Options()
    options.syncsCommits = false
    let expected: Content
    do {
      let base = try LMDBStorage(path: path, options: options)
      // Enough for several steps of writing behind.
      for first in stride(from: 2 as Int64, to: 12_000, by: 1000) {
        try Self.fill(base, first...first + 999)
      }
      #expect(base.bytesOnDisk > 16 << 20)
      expected = try Self.content(of: base)
      base.close()
    }
    let base = try LMDBStorage(path: path)
    #expect(try Self.content(of: base) == expected)
    #expect(expected.records.count == 12_000)
  }
}

/// Streams that nobody wrote.
@Suite struct RecordParserTests {
  private static func record(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
    [UInt8(key.count)] + withUnsafeBytes(of: UInt32(value.count).littleEndian) { Array($0) } + key
      + value
  }

  private static func metadata(_ name: String) -> [UInt8] {
    record(Array("m\(name)".utf8), [1])
  }

  private static func revision(_ main: UInt64, _ sub: UInt64 = 0, _ value: [UInt8] = [0]) -> [UInt8]
  {
    let words = [(main | 1 << 63).bigEndian, sub.bigEndian]
    return record(words.withUnsafeBytes { Array($0) }, value)
  }

  /// What the parser says, given all at once and byte by byte.
  private static func flaw(_ stream: [UInt8]) throws -> RecordParser.Flaw? {
    func parse(_ step: Int) throws -> RecordParser.Flaw? {
      var parser = RecordParser()
      do {
        for start in stride(from: 0, to: stream.count, by: step) {
          let part = Array(stream[start..<min(start + step, stream.count)])
          try part.withUnsafeBytes { try parser.parse($0) { _ in } }
        }
        try parser.finish()
      } catch let flaw as RecordParser.Flaw {
        return flaw
      }
      return nil
    }
    let flaw = try parse(max(stream.count, 1))
    #expect(try parse(1) == flaw)
    return flaw
  }

  @Test func soundOnes() throws {
    #expect(try Self.flaw([]) == nil)
    let format = Self.record(Array("f".utf8), [1, 0, 0, 0])
    #expect(
      try Self.flaw(
        format + Self.metadata("a") + Self.metadata("b") + Self.revision(2)
          + Self.revision(2, 1, [1, 9]) + Self.revision(3)
      ) == nil
    )
  }

  @Test func whatIsNoRecord() throws {
    #expect(try Self.flaw([16]) == .cutOff)
    #expect(try Self.flaw(Array(Self.revision(2).dropLast())) == .cutOff)
    #expect(try Self.flaw([16, 0xff, 0xff, 0xff, 0xff]) == .valueTooLong(0xffff_ffff))
    #expect(try Self.flaw([16, 1, 0, 0, 4]) == .valueTooLong(64 << 20 | 1))
    #expect(try Self.flaw(Self.record([], [])) == .strangeKey)
    #expect(try Self.flaw(Self.record(Array("m".utf8), [])) == .strangeKey)
    #expect(try Self.flaw(Self.record(Array("x1".utf8), [])) == .strangeKey)
    #expect(try Self.flaw(Self.record([0x6d, 0x80], [])) == .strangeKey)
    #expect(try Self.flaw(Self.metadata(String(repeating: "a", count: 129))) == .strangeKey)
    #expect(try Self.flaw(Self.metadata(String(repeating: "a", count: 128))) == nil)
    #expect(try Self.flaw(Self.record(Array("f".utf8), [9, 0, 0, 0])) == .formatNewer(9))
    #expect(try Self.flaw(Self.record(Array("f".utf8), [1])) == .strangeKey)
    // A value has flags, and only the lowest means something.
    let second = ChangeRevision(main: 2, sub: 0)
    #expect(try Self.flaw(Self.revision(2, 0, [])) == .strangeValue(second))
    #expect(try Self.flaw(Self.revision(2, 0, [2])) == .strangeValue(second))
    // A negative number below a main one.
    #expect(try Self.flaw(Self.revision(2, 1 << 63)) == .strangeKey)
  }

  @Test func theOrderCounts() throws {
    #expect(try Self.flaw(Self.metadata("b") + Self.metadata("a")) == .disordered)
    #expect(try Self.flaw(Self.metadata("a") + Self.metadata("a")) == .disordered)
    #expect(try Self.flaw(Self.revision(3) + Self.revision(2)) == .disordered)
    #expect(try Self.flaw(Self.revision(3) + Self.revision(3)) == .disordered)
    #expect(try Self.flaw(Self.revision(3) + Self.metadata("a")) == .disordered)
    let format = Self.record(Array("f".utf8), [1, 0, 0, 0])
    #expect(try Self.flaw(Self.metadata("a") + format) == .disordered)
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func garbageEndsWell(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<2000 {
      var stream = Self.metadata("a") + Self.revision(2, 0, [1, 2, 3]) + Self.revision(4)
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        stream[Int.random(in: 0..<stream.count, using: &generator)] = UInt8.random(
          in: 0 ... .max,
          using: &generator
        )
      }
      _ = try Self.flaw(stream)
    }
  }
}

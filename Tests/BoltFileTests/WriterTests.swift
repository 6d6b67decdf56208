import BoltFile
import Foundation
import Testing

@Suite struct WriterTests {
  private let directory = TemporaryDirectory()

  private func write(_ buckets: [(String, [Pair])]) throws -> String {
    let path = directory.file("\(UUID().uuidString).db")
    let writer = try BoltWriter(path: path)
    for (name, pairs) in buckets {
      try writer.beginBucket(name)
      for pair in pairs { try writer.put(pair.key, pair.value) }
      try writer.endBucket()
    }
    let length = try writer.finish()
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    #expect(attributes[.size] as? Int == length)
    return path
  }

  /// Ascending keys of `keyBytes` with values of up to `valueBytesMax`.
  private func pairs(
    _ count: Int,
    keyBytes: Int,
    valueBytesMax: Int,
    _ numbers: inout SeededNumbers
  ) -> [Pair] {
    (0..<count).map { index in
      var key = withUnsafeBytes(of: UInt64(index).bigEndian) { Array($0) }
      while key.count < keyBytes { key.append(UInt8.random(in: 0...255, using: &numbers)) }
      let length = Int.random(in: 0...valueBytesMax, using: &numbers)
      return Pair(key: key, value: (0..<length).map { UInt8(truncatingIfNeeded: index + $0) })
    }
  }

  /// Each size makes trees of other heights and fills: none, one leaf, branches over branches.
  @Test(arguments: [0, 1, 2, 3, 50, 113, 114, 227, 228, 5000, 40_000])
  func whatIsWrittenIsRead(count: Int) throws {
    var numbers = SeededNumbers(seed: UInt64(count))
    let many = pairs(count, keyBytes: 17, valueBytesMax: 60, &numbers)
    let path = try write([("a", []), ("many", many), ("z", [Pair(key: [1], value: [2])])])
    let file = try BoltFile(path: path)
    try file.check()
    let found = try contents(of: file)
    #expect(found.keys.sorted() == ["a", "many", "z"])
    #expect(found["many"] == many)
    #expect(found["a"] == [])
    #expect(found["z"] == [Pair(key: [1], value: [2])])
    #expect(try file.bucket("many") != nil)
    #expect(try file.bucket("none") == nil)
  }

  @Test(arguments: [(60, 8, 20_000), (300, 3000, 100), (5, 32_000, 300_000), (900, 900, 9000)])
  func longKeysAndValues(count: Int, keyBytes: Int, valueBytesMax: Int) throws {
    var numbers = SeededNumbers(seed: 7)
    let many = pairs(count, keyBytes: keyBytes, valueBytesMax: valueBytesMax, &numbers)
    let file = try BoltFile(path: try write([("many", many)]))
    try file.check()
    #expect(try contents(of: file)["many"] == many)
  }

  @Test func manyBuckets() throws {
    let names = (100..<400).map { "bucket-\($0)" }
    let path = try write(names.map { ($0, [Pair(key: Array($0.utf8), value: [])]) })
    let file = try BoltFile(path: path)
    try file.check()
    #expect(try contents(of: file).keys.sorted() == names)
  }

  @Test func whatBboltDoesNotTakeIsRefused() throws {
    let writer = try BoltWriter(path: directory.file("refused.db"))
    try writer.beginBucket("b")
    try writer.put([2], [])
    #expect(throws: BoltError.unwritable(reason: "a key is not above the one before")) {
      try writer.put([2], [])
    }
    #expect(throws: BoltError.unwritable(reason: "a key is not above the one before")) {
      try writer.put([1, 9], [])
    }
    #expect(throws: BoltError.unwritable(reason: "bbolt takes no key of 0 bytes")) {
      try writer.put([], [])
    }
    #expect(throws: BoltError.unwritable(reason: "bbolt takes no key of 32769 bytes")) {
      try writer.put([UInt8](repeating: 3, count: 32_769), [])
    }
    #expect(throws: BoltError.self) { _ = try BoltWriter(path: directory.file("refused.db")) }
  }
}

import Base
import RPC
import Testing

@Suite struct CallTimeoutTests {
  @Test(arguments: [
    ("1n", 1), ("5u", 5000), ("250m", 250_000_000), ("99999999S", 99_999_999_000_000_000),
    ("2M", 120_000_000_000), ("1H", 3_600_000_000_000), ("0S", 0), ("007m", 7_000_000),
  ])
  func parses(text: String, nanoseconds: UInt64) {
    #expect(Self.parse(text) == nanoseconds)
  }

  @Test(arguments: [
    "", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1S ", "1x", "12", "\u{e9}S",
  ])
  func refuses(text: String) {
    #expect(Self.parse(text) == nil)
  }

  @Test func tooLongBecomesVeryLong() {
    #expect(Self.parse("99999999H") == UInt64(Int64.max / 2))
  }

  @Test(arguments: [
    1, 999, 99_999_999, 100_000_000, 123_456_789_012, 5_000_000_000, UInt64(1) << 61,
  ])
  func formatNeverShortens(nanoseconds: UInt64) throws {
    let text = CallTimeout.format(nanoseconds: nanoseconds)
    #expect(text.utf8.count <= 9)
    let parsed = try #require(Self.parse(text))
    #expect(parsed >= nanoseconds)
    #expect(Double(parsed) <= Double(nanoseconds) * 1.001)
  }

  static func parse(_ text: String) -> UInt64? {
    [UInt8](text.utf8).withUnsafeBytes { CallTimeout.parse($0) }
  }
}

@Suite struct PercentCodingTests {
  @Test(arguments: [
    ("etcdserver: key is not provided", "etcdserver: key is not provided"),
    ("100%", "100%25"), ("a\nb", "a%0Ab"), ("caf\u{e9} \u{2713}", "caf%C3%A9 %E2%9C%93"), ("", ""),
    ("\u{7f}~ ", "%7F~ "),
  ])
  func encodes(text: String, wire: String) {
    #expect(PercentCoding.encode(text) == wire)
    #expect(Self.decode(wire) == text)
  }

  @Test func decodingForgives() {
    #expect(Self.decode("%") == "%")
    #expect(Self.decode("50%!") == "50%!")
    #expect(Self.decode("%zz%4") == "%zz%4")
    #expect(Self.decode("%c3%a9") == "\u{e9}")
    #expect(Self.decode("%ff") == "\u{fffd}")
  }

  static func decode(_ text: String) -> String {
    [UInt8](text.utf8).withUnsafeBytes { PercentCoding.decode($0) }
  }
}

@Suite struct Base64Tests {
  @Test(arguments: [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")])
  func vectors(text: String, encoded: String) {
    #expect(Base64.encode([UInt8](text.utf8)) == encoded)
    #expect(Self.decode(encoded) == [UInt8](text.utf8))
  }

  @Test func paddingIsOptional() {
    #expect(Self.decode("Zg==") == [0x66])
    #expect(Self.decode("Zm8=") == [0x66, 0x6F])
  }

  @Test(arguments: ["Z", "Zm9vY", "Zg=x", "Z g", "Zg===", "Zm9v!"])
  func refuses(text: String) {
    #expect(Self.decode(text) == nil)
  }

  static func decode(_ text: String) -> [UInt8]? {
    [UInt8](text.utf8).withUnsafeBytes { Base64.decode($0) }
  }
}

@Suite struct GzipTests {
  static let content = [UInt8](repeating: 7, count: 100_000) + (0..<5000).map { UInt8($0 % 251) }

  @Test func roundTripTwiceWithOneState() throws {
    let gzip = Gzip()
    for content in [Self.content, [], [1]] {
      let packed = Self.compress(content, gzip)
      #expect(try Self.decompress(packed, gzip, max: content.count) == content)
    }
  }

  @Test func boundIsExact() {
    let gzip = Gzip()
    let packed = Self.compress(Self.content, gzip)
    #expect(throws: Gzip.Failure.tooLarge) {
      try Self.decompress(packed, gzip, max: Self.content.count - 1)
    }
  }

  @Test func anyCutOrExtraByteIsMalformed() {
    let gzip = Gzip()
    let packed = Self.compress([UInt8](0..<200), gzip)
    for length in 0..<packed.count {
      #expect(throws: Gzip.Failure.malformed, "cut at \(length)") {
        try Self.decompress([UInt8](packed[..<length]), gzip, max: 1000)
      }
    }
    #expect(throws: Gzip.Failure.malformed) {
      try Self.decompress(packed + [0], gzip, max: 1000)
    }
  }

  static func compress(_ bytes: [UInt8], _ gzip: Gzip) -> [UInt8] {
    var writer = ByteWriter()
    bytes.withUnsafeBytes { gzip.compress($0, into: &writer) }
    return [UInt8](writer.bytes)
  }

  static func decompress(_ bytes: [UInt8], _ gzip: Gzip, max: Int) throws -> [UInt8] {
    var writer = ByteWriter()
    var failure: Gzip.Failure?
    bytes.withUnsafeBytes { bytes in
      do throws(Gzip.Failure) {
        try gzip.decompress(bytes, into: &writer, contentBytesMax: max)
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return [UInt8](writer.bytes)
  }
}

@Suite struct MetadataTests {
  @Test func keepsOrderAndFindsTheFirst() {
    var metadata = Metadata()
    add("token", "abc", to: &metadata)
    add("x", "", to: &metadata)
    add("token", "def", to: &metadata)
    // Outside of `#expect`, which cannot take a value that is not copyable.
    let names = metadata.entries.map(\.name)
    #expect(names == ["token", "x", "token"])
    let values = [
      text(of: "token", in: metadata), text(of: "x", in: metadata), text(of: "toke", in: metadata),
    ]
    #expect(values == ["abc", "", nil])
    metadata.removeAll()
    let gone = text(of: "token", in: metadata)
    #expect(gone == nil)
  }

  func text(of name: String, in metadata: borrowing Metadata) -> String? {
    let name = [UInt8](name.utf8)
    return name.withUnsafeBytes { metadata.value(named: $0) }.map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  @Test func isBounded() {
    var metadata = Metadata()
    for _ in 0..<20 { add("name", String(repeating: "v", count: 1000), to: &metadata) }
    let (isOverflown, count) = (metadata.isOverflown, metadata.count)
    #expect(isOverflown)
    #expect(count == 16)
    metadata.removeAll()
    let isOverflownStill = metadata.isOverflown
    #expect(!isOverflownStill)
  }

  func add(_ name: String, _ value: String, to metadata: inout Metadata) {
    [UInt8](name.utf8).withUnsafeBytes { name in
      [UInt8](value.utf8).withUnsafeBytes { metadata.append(name: name, value: $0) }
    }
  }
}

@Suite struct PathTableTests {
  @Test func findsWhatIsThere() {
    var table = PathTable()
    let paths = (0..<100).map { "/etcdserverpb.Service\($0 % 7)/Method\($0)" }
    for (number, path) in paths.enumerated() { table.insert(path, method: number) }
    for (number, path) in paths.enumerated() { #expect(find(path, table) == number) }
    for miss in ["", "/", "/etcdserverpb.Service0/Method", "/etcdserverpb.Service0/Method00"] {
      #expect(find(miss, table) == nil)
    }
  }

  func find(_ path: String, _ table: PathTable) -> Int? {
    [UInt8](path.utf8).withUnsafeBytes { table.find($0) }
  }
}

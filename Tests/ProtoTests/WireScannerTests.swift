import Proto
import Testing

struct WireScannerTests {
  @Test
  func fieldsComeInOrderWithTheirRanges() throws {
    let bytes =
      Wire.number(1, .max) + Wire.content(2, [7, 8]) + Wire.tag(300, 5) + [1, 2, 3, 4]
      + Wire.tag(4, 1) + [1, 0, 0, 0, 0, 0, 0, 0x80] + Wire.content(5, [])
    try bytes.withUnsafeBytes { buffer in
      var scanner = WireScanner(buffer)
      var seen: [String] = []
      var end = 0
      while let field = try scanner.next() {
        #expect(field.range.lowerBound == end)
        end = field.range.upperBound
        switch field.value {
        case .varint(let value): seen.append("\(field.number) varint \(value)")
        case .fixed32(let value): seen.append("\(field.number) fixed32 \(value)")
        case .fixed64(let value): seen.append("\(field.number) fixed64 \(value)")
        case .content(let content): seen.append("\(field.number) content \([UInt8](content))")
        }
      }
      #expect(end == bytes.count)
      #expect(
        seen == [
          "1 varint 18446744073709551615", "2 content [7, 8]", "300 fixed32 67305985",
          "4 fixed64 9223372036854775809", "5 content []",
        ]
      )
      #expect(try scanner.next() == nil)
    }
  }

  @Test(arguments: [
    "0a", "0a05", "0affffffffffffffffff01", "08", "0880", "08ffffffffffffffffff02", "00", "0b",
    "0c",
    "0e00", "0d000000", "0900000000000000", "8080808010 00", "08ffffffffffffffffffff01",
  ])
  func malformed(_ text: String) {
    _ = bytes(hex: text.filter { $0 != " " }).withUnsafeBytes { buffer in
      #expect(throws: DecodeError.malformed) {
        var scanner = WireScanner(buffer)
        while try scanner.next() != nil {}
      }
    }
  }

  @Test
  func agreesWithDecodingOnWhatIsWellFormed() {
    let seed: UInt64 = 0x6D61_7274_6C65_7403
    var random = SeededRandom(seed: seed)
    // EmptyResponse has no fields, so the decoder checks the same as the scanner.
    for _ in 0..<50_000 {
      let bytes = (0..<random.below(12)).map { _ in
        random.chance(50) ? UInt8(random.below(16)) : UInt8(random.below(256))
      }
      let isDecoded = (try? Etcdserverpb.EmptyResponse(decoding: bytes)) != nil
      let isScanned = bytes.withUnsafeBytes { buffer in
        var scanner = WireScanner(buffer)
        do {
          while try scanner.next() != nil {}
          return true
        } catch {
          return false
        }
      }
      #expect(isDecoded == isScanned, "\(hex(bytes)), seed \(seed)")
    }
  }
}

import CSupport
import Testing

@Suite struct ChecksumTests {
  private func crc(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { martlet_crc32c(seed, $0.baseAddress, $0.count) }
  }

  @Test func knownValues() {
    // The vectors of RFC 3720, B.4, and the usual check value.
    #expect(crc(Array("123456789".utf8)) == 0xe306_9283)
    #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
    #expect(crc([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
    #expect(crc((0..<32).map { UInt8($0) }) == 0x46dd_794e)
    #expect(crc((0..<32).reversed().map { UInt8($0) }) == 0x113f_db5c)
    #expect(martlet_crc32c(0x1234, nil, 0) == 0x1234)
  }

  @Test func hardwareAndTablesAgreeAtEveryLengthAndAlignment() {
    var random = TestNumbers(1)
    let bytes = (0..<60_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    let lengths = Array(0...1600) + [12_287, 12_288, 12_289, 24_576, 37_633, 50_000]
    bytes.withUnsafeBytes { raw in
      for length in lengths {
        let start = length % 9
        let seed = UInt32.random(in: 0...UInt32.max, using: &random)
        let base = raw.baseAddress.map { $0 + start }
        let fast = martlet_crc32c(seed, base, length)
        #expect(fast == martlet_crc32c_portable(seed, base, length), "length \(length)")
        let split = length / 3
        let first = martlet_crc32c(seed, base, split)
        let whole = martlet_crc32c(first, base.map { $0 + split }, length - split)
        #expect(whole == fast, "length \(length) split")
      }
    }
  }

  @Test func wordsAreFoundAtMultiplesOfEightOnly() {
    var bytes = [UInt8](repeating: 0, count: 64)
    bytes[12] = 7
    bytes[40] = 7
    bytes.withUnsafeBytes { raw in
      #expect(martlet_find_word(raw.baseAddress, 64, 7) == 40)
      #expect(martlet_find_word(raw.baseAddress, 44, 7) == 40)
      #expect(martlet_find_word(raw.baseAddress, 43, 7) == 43)
      #expect(martlet_find_word(raw.baseAddress, 0, 7) == 0)
    }
  }
}

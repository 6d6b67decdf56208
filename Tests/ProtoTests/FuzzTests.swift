import Proto
import Testing

/// Mutated messages in great number. Tests/fuzz/proto looks for more with libFuzzer.
struct FuzzTests {
  /// How many inputs one run tries, in debug builds about two seconds' worth.
  static let inputsCount = 700_000

  @Test
  func mutatedMessagesDoNoHarm() {
    let seed: UInt64 = 0x6D61_7274_6C65_7402
    var random = SeededRandom(seed: seed)
    let arena = Arena()
    let corpus = Golden.all(Goldens.literals + "\n" + Goldens.merged).map { golden in
      (golden.columns[0], MessageDescriptor.named(golden.type.messageName))
    }.compactMap { bytes, descriptor in descriptor.map { (bytes: bytes, descriptor: $0) } }
    var accepted = 0
    var inputs = 0
    while inputs < Self.inputsCount {
      let pick = corpus[random.below(corpus.count)]
      var bytes = pick.bytes
      bytes.withUnsafeMutableBytes { buffer in
        // Many mutations of one copy, each on top of the last.
        for _ in 0..<50 {
          let bits = random.next()
          let index = Int(truncatingIfNeeded: bits >> 32) % buffer.count
          buffer[index] = bits & 3 == 0 ? buffer[index] &+ 1 : UInt8(truncatingIfNeeded: bits >> 8)
          let count = bits & 15 == 0 ? index : buffer.count
          let input = UnsafeRawBufferPointer(rebasing: buffer[..<count])
          arena.reset()
          if (try? pick.descriptor.decode(input, in: arena)) != nil { accepted += 1 }
          inputs += 1
          if bits & 16 == 0 { buffer.copyBytes(from: pick.bytes) }
        }
      }
    }
    // Both outcomes must be common, or the test tries nothing.
    #expect(accepted > Self.inputsCount / 50, "seed \(seed)")
    #expect(accepted < Self.inputsCount - Self.inputsCount / 50, "seed \(seed)")
    #expect(arena.heldBytes <= Arena.defaultBytesMax)
  }
}

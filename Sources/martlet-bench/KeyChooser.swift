import Base

/// Chooses keys out of a space of so many, each a fixed number of bytes: its number as digits,
/// filled up in front.
struct KeyChooser {
  private let options: KeyOptions
  private let isSequential: Bool
  private var state: UInt64
  private var next: Int
  private let stride: Int
  private var key: [UInt8]

  /// The chooser of one of several event loops, which share a sequence among them.
  init(_ options: KeyOptions, loop: Int, loopCount: Int) {
    self.options = options
    isSequential = options.sequentialKeys
    state = options.seed &+ UInt64(loop) &* 0x9E37_79B9_7F4A_7C15
    next = loop
    stride = loopCount
    key = [UInt8](repeating: UInt8(ascii: "0"), count: options.keySize)
  }

  /// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
  mutating func random() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// Calls `body` with the next key.
  mutating func withNextKey(_ body: (UnsafeRawBufferPointer) -> Void) {
    let number: Int
    if isSequential {
      number = next % options.keySpaceSize
      next += stride
    } else {
      number = Int(random() % UInt64(options.keySpaceSize))
    }
    Self.write(number, into: &key)
    key.withUnsafeBytes(body)
  }

  /// The key of a number.
  static func key(_ number: Int, bytes: Int) -> [UInt8] {
    var key = [UInt8](repeating: 0, count: bytes)
    write(number, into: &key)
    return key
  }

  private static func write(_ number: Int, into key: inout [UInt8]) {
    var rest = number
    var place = key.count - 1
    while place >= 0 {
      key[place] = UInt8(ascii: "0") + UInt8(rest % 10)
      rest /= 10
      place -= 1
    }
  }
}

import Proto

/// SplitMix64: the same numbers for the same seed on every machine.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ bound: Int) -> Int {
    Int(next() % UInt64(bound))
  }

  mutating func chance(_ percent: Int) -> Bool {
    below(100) < percent
  }

  mutating func pick<Element>(_ list: [Element]) -> Element {
    list[below(list.count)]
  }
}

/// One line of `Goldens`: a message type and the columns of hex bytes after its name.
struct Golden: CustomStringConvertible {
  let type: any Message.Type
  let columns: [[UInt8]]
  let description: String

  init?(line: Substring) {
    let words = line.split(separator: " ", omittingEmptySubsequences: false)
    guard let name = words.first, let type = messageType(String(name)) else { return nil }
    self.type = type
    columns = words.dropFirst().map { bytes(hex: $0) }
    description = String(line)
  }

  static func all(_ text: String) -> [Golden] {
    text.split(separator: "\n").compactMap { Golden(line: $0) }
  }
}

func messageType(_ name: String) -> (any Message.Type)? {
  guard let position = MessageDescriptor.all.firstIndex(where: { $0.name == name }) else {
    return nil
  }
  return MessageDescriptor.valueTypes[position]
}

func bytes(hex: some StringProtocol) -> [UInt8] {
  var result: [UInt8] = []
  var high: UInt8?
  for digit in hex.utf8 {
    let value = digit < 0x3A ? digit - 0x30 : digit - 0x61 + 10
    if let first = high {
      result.append(first << 4 | value)
      high = nil
    } else {
      high = value
    }
  }
  return result
}

func hex(_ bytes: [UInt8]) -> String {
  bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

/// Wire format by the book, written apart from the library's own.
enum Wire {
  static func varint(_ value: UInt64) -> [UInt8] {
    value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F) | 0x80] + varint(value >> 7)
  }

  static func tag(_ number: Int, _ wireType: UInt64) -> [UInt8] {
    varint(UInt64(number) << 3 | wireType)
  }

  static func content(_ number: Int, _ content: [UInt8]) -> [UInt8] {
    tag(number, 2) + varint(UInt64(content.count)) + content
  }

  static func number(_ number: Int, _ value: UInt64) -> [UInt8] {
    tag(number, 0) + varint(value)
  }
}

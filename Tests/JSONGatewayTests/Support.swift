import JSONGateway
import Proto
import RPC

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

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }
}

/// A message of any type by its descriptor.
func descriptor<Value: Message>(_: Value.Type) -> MessageDescriptor {
  guard let found = MessageDescriptor.named(Value.messageName) else {
    preconditionFailure("no descriptor of \(Value.messageName)")
  }
  return found
}

/// What the JSON text says, as a value of the type.
func parse<Value: Message>(_ text: String, as type: Value.Type = Value.self) throws -> Value {
  try Value(decoding: Transcoder.message(descriptor(type), fromJSON: Array(text.utf8)))
}

/// The value as JSON text.
func json<Value: Message>(_ value: Value) throws -> String {
  let bytes = try Transcoder.json(descriptor(Value.self), of: value.encoded())
  return String(decoding: bytes, as: UTF8.self)
}

func bytes(hex: some StringProtocol) -> [UInt8] {
  var result: [UInt8] = []
  var rest = hex[...]
  while rest.count >= 2 {
    result.append(UInt8(rest.prefix(2), radix: 16) ?? 0)
    rest = rest.dropFirst(2)
  }
  return result
}

func hex(_ bytes: [UInt8]) -> String {
  bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

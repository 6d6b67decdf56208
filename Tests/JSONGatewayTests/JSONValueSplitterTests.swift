import JSONGateway
import Testing

@Suite("JSON values that come in pieces")
struct JSONValueSplitterTests {
  private func values(_ pieces: [String]) -> [String] {
    var splitter = JSONValueSplitter()
    var found: [String] = []
    for piece in pieces {
      splitter.append(Array(piece.utf8))
      while let value = splitter.next() { found.append(String(decoding: value, as: UTF8.self)) }
    }
    let rest = splitter.takeRest()
    if !rest.isEmpty { found.append(String(decoding: rest, as: UTF8.self)) }
    #expect(splitter.heldBytes == 0)
    return found
  }

  @Test(arguments: [
    (#"{"a":1}{"b":2}"#, [#"{"a":1}"#, #"{"b":2}"#]),
    (#" [1,[2,{}]] {} "#, ["[1,[2,{}]]", "{}"]),
    (#""a}\"{" {"k":"}\\"}"#, [#""a}\"{""#, #"{"k":"}\\"}"#]),
    ("12 null\n-3", ["12", "null", "-3"]),
    ("{bad {", ["{bad {"]),
    ("}}x", ["}", "}", "x"]),
    (" \t\r\n", []),
    ("", []),
  ])
  func wholeText(_ text: String, _ expected: [String]) {
    #expect(values([text]) == expected)
    #expect(values(text.map(String.init)) == expected, "byte by byte")
  }

  @Test(arguments: 0..<20) func anyPieces(seed: UInt64) {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let kinds = [#"{"k":"v"}"#, "[]", #""\"}""#, #"{"a":{"b":["]","\\"]}}"#, "{}"]
    let wanted = (0..<200).map { _ in kinds[random(kinds.count)] }
    let text = Array(wanted.joined(separator: random(2) == 0 ? "" : "\n").utf8)
    var pieces: [String] = []
    var place = 0
    while place < text.count {
      let end = min(text.count, place + 1 + random(40))
      pieces.append(String(decoding: text[place..<end], as: UTF8.self))
      place = end
    }
    #expect(values(pieces) == wanted, "seed \(seed)")
  }

  /// A value that is split off costs its own length, not that of all that waits.
  @Test func manySmallValuesAtOnce() {
    var splitter = JSONValueSplitter()
    splitter.append(
      Array(repeating: [UInt8(ascii: "{"), UInt8(ascii: "}")], count: 300_000).flatMap { $0 }
    )
    var count = 0
    while splitter.next() != nil { count += 1 }
    #expect(count == 300_000)
  }
}

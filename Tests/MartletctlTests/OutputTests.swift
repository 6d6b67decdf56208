import Proto
import Testing

@testable import martletctl

/// Output as Go's packages write it.
@Suite struct OutputTests {
  private func json(_ value: JSONValue) -> String {
    String(decoding: value.encoded(), as: UTF8.self)
  }

  @Test func messagesAsGoStructs() {
    var header = Etcdserverpb.ResponseHeader()
    header.clusterID = .max
    header.revision = 7
    var response = Etcdserverpb.RangeResponse()
    response.header = header
    response.kvs = [Mvccpb.KeyValue(key: [0xff], createRevision: 2, modRevision: 3, version: 1)]
    response.count = 1
    #expect(
      json(.message(response))
        == #"{"header":{"cluster_id":18446744073709551615,"revision":7},"#
        + #""kvs":[{"key":"/w==","create_revision":2,"mod_revision":3,"version":1}],"count":1}"#
    )
  }

  @Test func alternativesAreNamedAsInGo() {
    var operation = Etcdserverpb.ResponseOp()
    operation.response = .responsePut(Etcdserverpb.PutResponse())
    var response = Etcdserverpb.TxnResponse()
    response.succeeded = true
    response.responses = [operation]
    #expect(
      json(.message(response))
        == #"{"succeeded":true,"responses":[{"Response":{"response_put":{}}}]}"#
    )
  }

  @Test func textIsEscapedForHTML() {
    #expect(json(.string("<a>&\"\\\n\u{1}ü")) == #""\u003ca\u003e\u0026\"\\\n\u0001ü""#)
    #expect(json(.bytes([1])) == #""AQ==""#)
    #expect(json(.bytes([1, 2])) == #""AQI=""#)
    #expect(json(.bytes([1, 2, 3])) == #""AQID""#)
  }

  @Test(arguments: [
    ("a\"b\\", #""a\"b\\""#), ("\n\t\u{0}\u{7f}", #""\n\t\x00\x7f""#), ("ü€", "\"ü€\""),
    ("\u{200b}", #""\u200b""#),
  ])
  func quotedTexts(text: String, quoted: String) {
    #expect(GoText.quoted(text) == quoted)
  }

  @Test func quotedBytesThatAreNoText() {
    #expect(GoText.quoted([0xff, 0x61, 0xc3]) == Array(#""\xffa\xc3""#.utf8))
    // A surrogate, an overlong form, and one beyond the last character.
    #expect(GoText.quoted([0xed, 0xa0, 0x80]) == Array(#""\xed\xa0\x80""#.utf8))
    #expect(GoText.quoted([0xc0, 0x80]) == Array(#""\xc0\x80""#.utf8))
    #expect(GoText.quoted([0xf5, 0x80, 0x80, 0x80]) == Array(#""\xf5\x80\x80\x80""#.utf8))
  }

  @Test func numbers() {
    #expect(GoText.parseInteger("ff", radix: 16).value == 255)
    #expect(GoText.parseInteger("-5", radix: 10).value == -5)
    #expect(GoText.parseInteger("010").value == 8)
    let tooLarge = GoText.parseInteger("9223372036854775808", radix: 10)
    #expect(
      tooLarge.objection == "strconv.ParseInt: parsing \"9223372036854775808\": value out of range"
    )
    #expect(GoText.parseUnsigned("-1", radix: 16).value == nil)
    #expect(GoText.parseInteger("", radix: 10).value == nil)
    #expect(GoText.parseInteger("٣", radix: 10).value == nil)
  }

  @Test func tablesAreCentredAndWrapped() {
    let table = TextTable(
      headings: ["ID", "STATUS"],
      rows: [["526386d7ba81b64a", "started"], ["1", "one two three four five six seven eight"]]
    )
    #expect(
      table.text() == """
        +------------------+-----------------------------+
        |        ID        |           STATUS            |
        +------------------+-----------------------------+
        | 526386d7ba81b64a |                     started |
        |                1 | one two three four five six |
        |                  |                 seven eight |
        +------------------+-----------------------------+
        """
    )
  }

  @Test func treesShareTheirBranches() {
    let tree = KeyTree([
      (Array("/a/b".utf8), Array("1".utf8)), (Array("/a/c/d".utf8), Array("2".utf8)),
      (Array("/e".utf8), Array("3".utf8)),
    ])
    let text = String(
      decoding: tree.lines(hidesValues: false, usesColour: false),
      as: UTF8.self
    )
    #expect(
      text == """
        /
        ├── a/
        │   ├── b = 1
        │   └── c/
        │       └── d = 2
        └── e = 3

        """
    )
  }

  @Test func aDeepTreeIsBounded() {
    let key = [UInt8](repeating: UInt8(ascii: "/"), count: 5_000)
    let lines = KeyTree([(key, [])]).lines(hidesValues: true, usesColour: false)
    #expect(lines.count { $0 == UInt8(ascii: "\n") } == KeyTree.depthMax + 1)
    #expect(lines.count { $0 == UInt8(ascii: "/") } == 5_000)
  }
}

/// Arguments that are no text.
@Suite struct RawTextTests {
  @Test(
    arguments: [
      [0xff], [0x61, 0xc3, 0x62], [0xf4, 0x8f, 0xbf, 0xbf], [0xed, 0xa0, 0x80], Array("ü".utf8), [],
    ] as [[UInt8]]
  )
  func nothingIsLost(bytes: [UInt8]) {
    #expect(RawText.bytes(RawText.text(bytes)) == bytes)
  }

  @Test func anyBytes() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<2_000 {
      let count = Int.random(in: 0...12, using: &generator)
      let bytes = (0..<count).map { _ in UInt8.random(in: 0x80...0xff, using: &generator) }
      #expect(RawText.bytes(RawText.text(bytes)) == bytes, "\(bytes)")
    }
  }
}

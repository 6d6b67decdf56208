import Foundation
import JSONGateway
import Proto
import Testing

/// Texts made to cost: each must end, with an error or a message, and with memory in proportion. What
/// grows faster than its input would not end within the limit.
@Suite(.serialized, .timeLimit(.minutes(10))) struct BombTests {
  /// What a request's body may have.
  static let bodyBytes = 2_800_000

  /// Transcodes; the message's size, or nil when it is refused.
  private func run(_ text: [UInt8], _ name: String = "etcdserverpb.TxnRequest") throws -> Int? {
    let type = try #require(MessageDescriptor.named(name))
    return (try? Transcoder.message(type, fromJSON: text))?.count
  }

  private func repeated(_ text: String, _ before: String = "", _ after: String = "") -> [UInt8] {
    let unit = Array(text.utf8)
    let count = Self.bodyBytes / unit.count
    var bytes = Array(before.utf8)
    for _ in 0..<count { bytes.append(contentsOf: unit) }
    return bytes + Array(after.utf8)
  }

  @Test func deepNesting() throws {
    #expect(try run(repeated("[")) == nil)
    #expect(try run(repeated(#"{"a":"#)) == nil)
    #expect(try run(repeated("[", #"{"x":"#, "]}")) == nil)
    #expect(try run(repeated(#"{"success":[{"request_txn":"#)) == nil)
  }

  @Test func deepestNestingThatIsTaken() throws {
    // Each level of transactions is three levels of JSON.
    let levels = 85
    let text =
      String(repeating: #"{"success":[{"request_txn":"#, count: levels) + "{}"
      + String(repeating: "}]}", count: levels)
    #expect(try run(Array(text.utf8)) != nil)
    let request = try parse(text, as: Etcdserverpb.TxnRequest.self)
    #expect(try json(request) == text)
  }

  @Test func longOnes() throws {
    #expect(try run(repeated("9", #"{"limit":"#, "}"), "etcdserverpb.RangeRequest") == nil)
    #expect(try run(repeated("9", #"{"x":"#, "}")) == 0)
    #expect(try run(repeated("{},", #"{"compare":["#, "{}]}")) != nil)
    #expect(try run(repeated(#""key":"AA==","#, "{", #""z":1}"#), "etcdserverpb.PutRequest") == 3)
    #expect(try run(repeated("[],", "[", "[]]")) == nil)
    #expect(try run(repeated("\\u0041", #"{"key":""#, #""}"#), "etcdserverpb.PutRequest") != nil)
    #expect(try run(repeated("\\", #"{"key":""#, #""}"#), "etcdserverpb.PutRequest") == nil)
    #expect(try run(repeated("\"")) == nil)
    #expect(try run(repeated(" ")) == 0)
  }

  @Test func theErrorForALongNumberIsShort() throws {
    let type = try #require(MessageDescriptor.named("etcdserverpb.RangeRequest"))
    do {
      _ = try Transcoder.message(type, fromJSON: repeated("9", #"{"limit":"#, "}"))
      Issue.record("taken")
    } catch {
      #expect(error.description.utf8.count < 200)
    }
  }

  /// Every prefix of a text, and every text with one byte changed: an error or a message, no crash.
  @Test func damagedTexts() throws {
    let text = Array(
      #"{"compare":[{"key":"Zm9v","target":"VERSION","version":"-1"}],"success":[{"requestPut""#
        .utf8
    )
    let whole = text + Array(#":{"key":"\u0041A==","lease":12e3}},{"x":[true,false,null]}]}"#.utf8)
    let type = try #require(MessageDescriptor.named("etcdserverpb.TxnRequest"))
    for length in 0..<whole.count {
      _ = try? Transcoder.message(type, fromJSON: Array(whole.prefix(length)))
    }
    var random = SeededRandom(seed: 3)
    for place in whole.indices {
      for _ in 0..<20 {
        var changed = whole
        changed[place] = UInt8(random.below(256))
        _ = try? Transcoder.message(type, fromJSON: changed)
      }
    }
  }
}

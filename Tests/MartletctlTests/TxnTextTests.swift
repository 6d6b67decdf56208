import Proto
import Testing

@testable import martletctl

/// The grammar of `txn`.
@Suite struct TxnTextTests {
  @Test func conditions() throws {
    let value = try TxnText.compare(#"value("a b") = "x\ty""#)
    #expect(value.key == Array("a b".utf8))
    #expect(value.result == .equal)
    #expect(value.targetUnion == .value(Array("x\ty".utf8)))
    let mod = try TxnText.compare(#"mod(`k`) != "12""#)
    #expect(mod.targetUnion == .modRevision(12))
    #expect(mod.result == .notEqual)
    let lease = try TxnText.compare(#"lease("k") > "1f""#)
    #expect(lease.targetUnion == .lease(31))
  }

  @Test(arguments: [
    ("garbage", "malformed comparison: garbage"),
    ("mod(a) > 0", "malformed comparison: mod(a) > 0; got mod(\"\")  \"\""),
    ("foo(\"a\") > \"0\"", "malformed comparison: foo(\"a\") > \"0\" (unknown target foo)"),
    ("mod(\"a\") > \"x\"", "invalid txn compare request: mod(\"a\") > \"x\""),
  ])
  func badConditions(line: String, message: String) {
    do {
      _ = try TxnText.compare(line)
      Issue.record("\(line) is taken")
    } catch {
      let failure = Failure(any: error)
      #expect(failure.message == message)
      #expect(failure.status == ExitCode.invalidInput.rawValue)
    }
  }

  @Test(arguments: [
    ("put a b", ["put", "a", "b"]), (#"put "x y" "a\nb\x41""#, ["put", "x y", "a\nbA"]),
    ("put 'it is' 'q'", ["put", "it is", "q"]), ("  get\ta  ", ["get", "a"]),
    (#"get "unfinished"#, ["get", "\"unfinished"]), ("", []),
  ])
  func words(line: String, words: [String]) {
    #expect(TxnText.words(line) == words)
  }

  @Test func badEscapesAreNone() {
    for text in [#"\q"#, #"\x4"#, #"\u12"#, #"\U99999999"#, #"\777"#, "\\"] {
      #expect(TxnText.unescaped(text[...]) == nil, "\(text)")
    }
  }
}

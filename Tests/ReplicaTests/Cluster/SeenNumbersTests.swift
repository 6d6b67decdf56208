import Replica
import Testing

/// What a leader remembers of the messages that others forward to it.
struct SeenNumbersTests {
  @Test func eachNumberIsNewOnce() {
    var seen = SeenNumbers(life: 1)
    for number: UInt64 in [1, 2, 5, 3, 70_000, 4_500] {
      #expect(seen.insert(number) == .new)
      #expect(seen.insert(number) == .repeated)
    }
  }

  /// What is too old to be told apart from what came is never taken again.
  @Test func whatIsFarBehindIsNotNew() {
    var seen = SeenNumbers(life: 1)
    #expect(seen.insert(SeenNumbers.span + 10) == .new)
    #expect(seen.insert(10) == .repeated)
    #expect(seen.insert(11) == .new)
  }

  @Test func aRefusalIsRemembered() {
    var seen = SeenNumbers(life: 1)
    #expect(seen.insert(7) == .new)
    seen.noteRefused(7, .tooManyRequests)
    #expect(seen.insert(7) == .refused(.tooManyRequests))
  }

  /// Numbers come from another member, which may lie: up to the last one that there is.
  @Test func refusalsAtTheEndOfAllNumbersAreForgottenInTurn() {
    var seen = SeenNumbers(life: 1)
    let first = UInt64.max - 9_999
    for number in first...UInt64.max {
      #expect(seen.insert(number) == .new)
      seen.noteRefused(number, .tooManyRequests)
    }
    #expect(seen.insert(.max) == .refused(.tooManyRequests))
    #expect(seen.insert(first) == .repeated)
  }
}

import Base
import Replica
import Testing

struct CatchUpWindowTests {
  @Test func keepsTheNewestEntries() {
    let window = CatchUpWindow(entriesMax: 10, bytesMax: .max)
    #expect(window.note(appliedThrough: LogIndex(5), bytes: 5) == nil)
    #expect(window.note(appliedThrough: LogIndex(14), bytes: 9) == nil)
    // 15 - 5 entries follow on the fifth.
    #expect(window.note(appliedThrough: LogIndex(15), bytes: 1) == LogIndex(5))
    #expect(window.note(appliedThrough: LogIndex(16), bytes: 1) == nil)
    #expect(window.note(appliedThrough: LogIndex(100), bytes: 1) == LogIndex(16))
  }

  @Test func weighsWhatItKeeps() {
    let window = CatchUpWindow(entriesMax: .max, bytesMax: 100)
    #expect(window.note(appliedThrough: LogIndex(1), bytes: 60) == nil)
    #expect(window.note(appliedThrough: LogIndex(2), bytes: 40) == nil)
    #expect(window.note(appliedThrough: LogIndex(3), bytes: 1) == LogIndex(1))
    #expect(window.note(appliedThrough: LogIndex(4), bytes: 59) == nil)
    #expect(window.note(appliedThrough: LogIndex(5), bytes: 1) == LogIndex(2))
  }

  @Test func theNewestGroupStaysWhateverItWeighs() {
    let window = CatchUpWindow(entriesMax: 1, bytesMax: 1)
    #expect(window.note(appliedThrough: LogIndex(1000), bytes: 1 << 30) == nil)
    #expect(window.note(appliedThrough: LogIndex(2000), bytes: 1 << 30) == LogIndex(1000))
  }

  @Test func agreesWithAPlainCountOverAnyRun() {
    for seed in UInt64(0)..<20 {
      var random = SeededGenerator(seed: seed)
      let window = CatchUpWindow(entriesMax: 50, bytesMax: 500)
      var groups: [(last: UInt64, bytes: Int)] = []
      var last: UInt64 = 0
      // Long enough for the window to give its own memory back.
      for step in 0..<4000 {
        last += UInt64(1 + random.below(20))
        let bytes = random.below(100)
        groups.append((last, bytes))
        var dropped: LogIndex?
        while groups.count > 1,
          groups.reduce(0, { $0 + $1.bytes }) > 500 || last - groups[0].last >= 50
        {
          dropped = LogIndex(groups.removeFirst().last)
        }
        let answer = window.note(appliedThrough: LogIndex(last), bytes: bytes)
        #expect(answer == dropped, "seed \(seed), step \(step)")
      }
    }
  }
}

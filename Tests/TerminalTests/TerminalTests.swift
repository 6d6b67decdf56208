import Terminal
import Testing

@Suite struct TerminalTests {
  @Test(arguments: [
    (0, "0 B"), (9, "9 B"), (20480, "20 kB"), (999, "999 B"), (1000, "1.0 kB"), (1500, "1.5 kB"),
    (9_960, "10 kB"), (82_854_982, "83 MB"),
  ])
  func sizes(bytes: Int, text: String) {
    #expect(ByteCount.text(bytes) == text)
  }

  @Test func aBarsLine() {
    #expect(
      ProgressBar.line("saving", .bytes, 12_000, of: 48_000, share: 0.25, .seconds(1))
        == "saving [======                  ] 25 %  12 kB of 48 kB, 3 s left"
    )
    #expect(
      ProgressBar.line("copying", .items, 0, of: 7, share: 0, .zero)
        == "copying [                        ] 0 %  0 of 7"
    )
    #expect(
      ProgressBar.line("copying", .items, 7, of: 7, share: 1, .seconds(9))
        == "copying [========================] 100 %  7"
    )
    // Nobody knows how much it will be.
    #expect(
      ProgressBar.line("copying", .items, 7, of: 0, share: 0, .seconds(9))
        == "copying [                        ] 0 %  7"
    )
  }
}

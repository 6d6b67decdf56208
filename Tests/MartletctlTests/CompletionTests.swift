import Testing

@testable import martletctl

@Suite struct CompletionTests {
  @Test func scriptsKnowEveryCommandAndFlag() {
    for script in [
      CompletionScript.bash(), CompletionScript.zsh(describes: true),
      CompletionScript.fish(describes: false),
    ] {
      for command in CommandTable.all {
        #expect(script.contains(command.path[command.path.count - 1]), "\(command.name)")
        for flag in command.flags { #expect(script.contains(flag.name), "--\(flag.name)") }
      }
    }
  }
}

/// The verdict of `check perf`.
@Suite struct CheckTests {
  @Test func statistics() {
    var report = LoadReport()
    for milliseconds in [10, 20, 30] { report.add(.milliseconds(milliseconds)) }
    var other = LoadReport()
    other.add(.milliseconds(20))
    report.merge(other)
    #expect(report.count == 4)
    #expect(report.slowest == 0.03)
    #expect(abs(report.standardDeviation - 0.00707) < 0.0001)
    #expect(CheckCommands.decimal(report.slowest, 6) == "0.030000")
    #expect(CheckCommands.decimal(46.428, 2) == "46.43")
  }

  @Test func verdicts() throws {
    var report = LoadReport()
    report.add(.milliseconds(10))
    try PerformanceCheck.judge(report, perSecond: 149, limit: 150)
    #expect(throws: Failure.self) {
      try PerformanceCheck.judge(report, perSecond: 135, limit: 150)
    }
    report.add(.milliseconds(501))
    #expect(throws: Failure.self) {
      try PerformanceCheck.judge(report, perSecond: 149, limit: 150)
    }
  }
}

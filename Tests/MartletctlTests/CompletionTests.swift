import Testing

@testable import martletctl

/// What shells are offered.
@Suite struct CompletionTests {
  private func complete(_ words: String...) -> Completion {
    Completion(words, commands: CommandTable.all, globals: GlobalFlags.all)
  }

  private func offered(_ words: String...) -> [String] {
    Completion(words, commands: CommandTable.all, globals: GlobalFlags.all).candidates.map(\.word)
  }

  @Test func everyCommandAndFlagIsOffered() {
    for command in CommandTable.all {
      let name = command.path[command.path.count - 1]
      let before = Array(command.path.dropLast())
      func offers(_ words: [String]) -> [String] {
        Completion(words, commands: CommandTable.all, globals: GlobalFlags.all).candidates
          .map(\.word)
      }
      #expect(offers(before + [name]).contains(name), "\(command.name)")
      #expect(offers(["help"] + before + [name]).contains(name), "help \(command.name)")
      for flag in command.flags + GlobalFlags.all {
        let text = "--\(flag.name)"
        #expect(offers(command.path + [text]).contains(text), "\(command.name) \(text)")
      }
    }
  }

  @Test func namesFollowTheirGroups() {
    #expect(offered("comp") == ["compaction", "completion"])
    #expect(offered("lease", "") == ["grant", "keep-alive", "list", "revoke", "timetolive"])
    #expect(offered("--endpoints", "x", "-w", "json", "lease", "gr") == ["grant"])
    #expect(offered("--hex", "--endpoints=x", "lease", "gr") == ["grant"])
    // A flag's value is no command, and arguments are not the shell's business.
    #expect(offered("--user", "lease").isEmpty)
    #expect(offered("get", "k", "").isEmpty)
    #expect(offered("nonsense", "").isEmpty)
  }

  @Test func flagsAreOfferedOnceUnlessTheyAddUp() {
    #expect(offered("get", "--pre") == ["--prefix"])
    #expect(offered("get", "--prefix", "--pre").isEmpty)
    #expect(offered("--endpoints", "a", "get", "--endp") == ["--endpoints"])
    #expect(offered("get", "-w") == ["-w"])
    #expect(offered("get", "--hel") == ["--help"])
    #expect(offered("get", "--", "--pre").isEmpty)
  }

  @Test func valuesOfAFlag() {
    #expect(offered("-w", "js") == ["json"])
    #expect(offered("get", "--order", "") == ["ASCEND", "DESCEND"])
    // Behind = only the value is completed.
    #expect(offered("get", "--write-out=f") == ["fields"])
    #expect(offered("get", "--hex=") == ["true", "false"])
  }

  @Test func namesOfFilesWhereFilesAreMeant() {
    #expect(complete("--cacert", "").directive == .files)
    #expect(complete("get", "--cert=/e").directive == .files)
    #expect(complete("snapshot", "save", "").directive == .files)
    #expect(complete("lock", "l", "--", "").directive == .files)
    #expect(complete("get", "").directive == .noFiles)
    #expect(complete("--user", "").directive == .noFiles)
  }

  @Test func theAnswersForm() {
    let text = complete("lease", "gr").text(describes: true)
    #expect(text == "grant\tmakes a lease of so many seconds\n:4\n")
    #expect(complete("lease", "gr").text(describes: false) == "grant\n:4\n")
    #expect(complete("snapshot", "save", "").text(describes: true) == ":0\n")
    #expect(complete("lease", "\"\"").candidates.count == 5)
  }

  @Test func everyScriptAsksForCandidates() {
    for script in [
      CompletionScript.bash, CompletionScript.zsh, CompletionScript.fish,
      CompletionScript.powershell,
    ] {
      #expect(script(true).contains(" __complete "))
      #expect(script(false).contains(" __completeNoDesc "))
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

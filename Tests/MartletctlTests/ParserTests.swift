import Testing

@testable import martletctl

/// Command lines as cobra reads them.
@Suite struct ParserTests {
  private let parser = CommandLineParser(commands: CommandTable.all, globals: GlobalFlags.all)

  private func run(
    _ words: String...
  ) throws -> (command: String, values: FlagValues, arguments: [String], dash: Int?) {
    guard case .run(let command, let values, let arguments, let dash) = try parser.parse(words)
    else { throw Failure(.error, "no command") }
    return (command.name, values, arguments, dash)
  }

  private func misuse(_ words: String...) -> String? {
    do throws(CommandLineParser.Misuse) {
      _ = try parser.parse(words)
      return nil
    } catch {
      return error.message
    }
  }

  @Test func globalFlagsStandAnywhere() throws {
    for words in [
      ["--endpoints", "a,b", "get", "k", "-w", "json"], ["get", "--endpoints=a,b", "-wjson", "k"],
      ["-w=json", "get", "k", "--endpoints=a", "--endpoints", "b"],
    ] {
      guard case .run(let command, let values, let arguments, _) = try parser.parse(words) else {
        Issue.record("\(words) is no command")
        continue
      }
      #expect(command.name == "get")
      #expect(values.list("endpoints") == ["a", "b"])
      #expect(values["write-out"] == "json")
      #expect(arguments == ["k"])
    }
  }

  @Test func boolsNeedNoValue() throws {
    let (_, values, arguments, _) = try run("get", "--prefix", "k", "--hex=false")
    #expect(values.bool("prefix"))
    #expect(!values.bool("hex"))
    #expect(arguments == ["k"])
  }

  @Test func nothingIsAFlagBehindTwoDashes() throws {
    let (command, _, arguments, dash) = try run("watch", "k", "--rev=3", "--", "sh", "-c", "x")
    #expect(command == "watch")
    #expect(arguments == ["k", "sh", "-c", "x"])
    #expect(dash == 1)
  }

  @Test func commandsOfTwoWordsAndAliases() throws {
    #expect(
      try run("--hex", "lease", "--command-timeout", "1s", "grant", "5").command == "lease grant"
    )
    #expect(try run("compact", "5").command == "compaction")
  }

  @Test func errorsAreCobras() {
    #expect(misuse("get", "--foo") == "unknown flag: --foo")
    #expect(misuse("put", "-x", "1") == "unknown shorthand flag: 'x' in -x")
    #expect(misuse("get", "-w") == "flag needs an argument: 'w' in -w")
    #expect(misuse("get", "a", "--write-out") == "flag needs an argument: --write-out")
    #expect(
      misuse("get", "a", "--limit=x")
        == "invalid argument \"x\" for \"--limit\" flag: "
        + "strconv.ParseInt: parsing \"x\": invalid syntax"
    )
    #expect(misuse("gett")?.hasPrefix("unknown command \"gett\" for \"martletctl\"") == true)
  }

  @Test func groupsAloneShowTheirCommands() throws {
    for words in [["lease"], ["lease", "nonsense"], ["help", "lease"]] {
      guard case .groupHelp(let group) = try parser.parse(words) else {
        Issue.record("\(words) shows no help")
        continue
      }
      #expect(group == ["lease"])
      #expect(Usage.text(ofGroup: group, CommandTable.all).contains("keep-alive"))
    }
  }

  @Test func everyCommandHasHelpAndNoFlagTwice() {
    for command in CommandTable.all {
      let names = (command.flags + GlobalFlags.all).map(\.name)
      #expect(Set(names).count == names.count, "\(command.name)")
      let usage = Usage.text(of: command)
      for flag in command.flags { #expect(usage.contains("--\(flag.name)")) }
    }
  }

  @Test func theEnvironmentFillsInAndConflicts() throws {
    var (_, values, _, _) = try run("get", "k")
    try GlobalFlags.apply(environment: ["ETCDCTL_WRITE_OUT": "json"], to: &values)
    #expect(values["write-out"] == "json")
    var (_, given, _, _) = try run("get", "k", "-w", "fields")
    #expect(throws: Failure.self) {
      try GlobalFlags.apply(environment: ["ETCDCTL_WRITE_OUT": "json"], to: &given)
    }
    var (_, bad, _, _) = try run("get", "k")
    #expect(throws: Failure.self) {
      try GlobalFlags.apply(environment: ["ETCDCTL_DIAL_TIMEOUT": "x"], to: &bad)
    }
  }

  @Test func watchWords() throws {
    func request(
      _ words: [String],
      _ dash: Int?,
      key: String? = nil
    ) throws -> WatchCommand.Request {
      try WatchCommand.request(words, countBeforeDash: dash, environment: key, rangeEnd: nil)
    }
    #expect(try request(["a", "b"], nil) == .init(range: ["a", "b"], command: []))
    #expect(try request(["a", "ls"], 1) == .init(range: ["a"], command: ["ls"]))
    #expect(try request(["ls"], 0, key: "k") == .init(range: ["k"], command: ["ls"]))
    #expect(try request(["a", "b", "c"], nil) == .init(range: ["a", "b"], command: []))
    #expect(throws: Failure.self) { try request([], nil) }
    #expect(throws: Failure.self) { try request(["a"], 1) }
    #expect(throws: Failure.self) { try request(["a", "ls"], 1, key: "k") }
  }
}

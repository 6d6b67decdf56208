import Foundation

/// The command line of Martlet and etcd.
@main
struct Martletctl {
  static func main() async {
    signal(SIGPIPE, SIG_IGN)
    // The arguments as they came: those of `CommandLine` are text.
    let words = (1..<max(1, Int(CommandLine.argc))).compactMap { index in
      CommandLine.unsafeArgv[index].map { RawText.text($0) }
    }
    do {
      try await run(words, environment: ProcessInfo.processInfo.environment)
    } catch {
      let failure = Failure(any: error)
      if let message = failure.message { Streams.warn("Error: \(message)") }
      if let detail = failure.detail { Streams.warn("  (\(detail))") }
      exit(failure.status)
    }
    exit(ExitCode.success.rawValue)
  }

  /// Reads the words and carries them out.
  static func run(_ words: [String], environment: [String: String]) async throws {
    if CompletionCommands.answer(words) { return }
    let parser = CommandLineParser(commands: CommandTable.all, globals: GlobalFlags.all)
    switch try parse(words, parser) {
    case .help(let command): Streams.print(Usage.text(of: command))
    case .groupHelp(let words): Streams.print(Usage.text(ofGroup: words, CommandTable.all))
    case .run(let command, var flags, let arguments, let countBeforeDash):
      try GlobalFlags.apply(environment: environment, to: &flags)
      guard !command.path.isEmpty else {
        Streams.print(Usage.text(ofGroup: [], CommandTable.all))
        return
      }
      let invocation = Invocation(
        command: command,
        flags: flags,
        arguments: arguments,
        countBeforeDash: countBeforeDash,
        format: try OutputFormat.named(flags["write-out"], among: command.formats)
      )
      try await command.run(invocation)
    }
  }

  private static func parse(
    _ words: [String],
    _ parser: CommandLineParser
  ) throws -> CommandLineParser.Result {
    do throws(CommandLineParser.Misuse) {
      return try parser.parse(words)
    } catch {
      // Scripts that look at usage find it where etcdctl has it.
      if let command = error.command, !command.path.isEmpty {
        Streams.print(Usage.text(of: command))
      }
      throw Failure(.error, error.message)
    }
  }
}

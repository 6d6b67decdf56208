import ArgumentParser
import Glibc
import Terminal

/// The tools for data directories and snapshots, none of which needs a server.
@main
struct Martletutl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martletutl",
    abstract: "Works on data directories and snapshot files of Martlet, and on snapshots of etcd.",
    discussion: """
      Commands and flags are those of etcdutl where it has them. A data directory that a server has \
      open is refused. Exit codes, as etcdutl's: 0 done, 1 failed or flags that cannot be read, 4 an \
      output format that there is not, 128 too many or too few arguments or flags that contradict \
      each other.
      """,
    subcommands: [
      SnapshotCommand.self, MigrateCommand.self, DefragCommand.self, HashKVCommand.self,
      LogCommand.self, DatabaseCommand.self, CompletionCommand.self, VersionCommand.self,
    ]
  )

  private static let failureCode: Int32 = 1
  private static let badFormatCode: Int32 = 4
  private static let badArgumentsCode: Int32 = 128

  static func main() {
    var command: any ParsableCommand
    do {
      command = try parseAsRoot(CommandLineForm.normal(Array(CommandLine.arguments.dropFirst())))
    } catch {
      end(error)
    }
    do {
      try command.run()
    } catch let error as Interrupted {
      Output.note("interrupted; nothing is left behind")
      Interruption.die(of: error)
    } catch let error as UnsupportedFormat {
      fail("\(error)", code: badFormatCode)
    } catch let error as BadArguments {
      fail("\(error)", code: badArgumentsCode)
    } catch  where isOfTheParser(error) {
      end(error)
    } catch {
      Progress.abandon()
      fail("\(error)", code: failureCode)
    }
  }

  /// Whether the error is about arguments, or no error but a wish for help.
  private static func isOfTheParser(_ error: any Error) -> Bool {
    error is CleanExit || error is ExitCode || exitCode(for: error) != .failure
  }

  /// Ends after arguments that were not taken: by the parser, or by a command as `BadArguments`.
  private static func end(_ error: any Error) -> Never {
    let parserCode = exitCode(for: error)
    if parserCode.isSuccess { exit(withError: error) }
    let code = parserCode == .validationFailure ? failureCode : badArgumentsCode
    fail(fullMessage(for: error), code: code, isWhole: true)
  }

  private static func fail(_ message: String, code: Int32, isWhole: Bool = false) -> Never {
    StandardError.write(isWhole ? "\(message)\n" : "Error: \(message)\n")
    Glibc.exit(code)
  }
}

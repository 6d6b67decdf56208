import ArgumentParser
import Glibc

/// The tools for data directories and snapshots, none of which needs a server.
@main
struct Martletutl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martletutl",
    abstract: "Works on data directories and snapshot files of Martlet, and on snapshots of etcd.",
    discussion: """
      Commands and flags are those of etcdutl where it has them. A data directory that a server has \
      open is refused. Exit codes: 0 done, 1 failed, 4 an output format that there is not, 128 wrong \
      arguments.
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
    } catch  where isOfTheParser(error) {
      end(error)
    } catch {
      ProgressBar.clear()
      fail("\(error)", code: failureCode)
    }
  }

  /// Whether the error is about arguments, or no error but a wish for help.
  private static func isOfTheParser(_ error: any Error) -> Bool {
    error is ValidationError || error is CleanExit || error is ExitCode
      || exitCode(for: error) != .failure
  }

  private static func end(_ error: any Error) -> Never {
    if exitCode(for: error).isSuccess { exit(withError: error) }
    fail(fullMessage(for: error), code: badArgumentsCode, isWhole: true)
  }

  private static func fail(_ message: String, code: Int32, isWhole: Bool = false) -> Never {
    StandardError.write(isWhole ? "\(message)\n" : "Error: \(message)\n")
    Glibc.exit(code)
  }
}

/// The command line as Go's flags allow it, brought into the parser's form.
enum CommandLineForm {
  private static let switches = ["--skip-hash-check", "--mark-compacted", "--keep-members"]
  private static let formats = ["-w", "--write-out"]

  /// Switches may have a value (`--mark-compacted=true`), and the output format may come before the
  /// command.
  static func normal(_ arguments: [String]) -> [String] {
    var arguments = arguments
    var leading: [String] = []
    while let first = arguments.first {
      if formats.contains(first), arguments.count > 1 {
        leading += arguments[..<2]
        arguments.removeFirst(2)
      } else if formats.contains(where: { first.hasPrefix("\($0)=") }) {
        leading.append(arguments.removeFirst())
      } else {
        break
      }
    }
    return (arguments + leading).flatMap { argument -> [String] in
      for name in switches where argument.hasPrefix("\(name)=") {
        switch argument.dropFirst(name.count + 1) {
        case "true", "1", "t", "T", "TRUE", "True": return [name]
        case "false", "0", "f", "F", "FALSE", "False": return []
        default: return [argument]
        }
      }
      return [argument]
    }
  }
}

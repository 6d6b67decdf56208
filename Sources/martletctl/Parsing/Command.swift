/// One command: its name, its flags and what it does.
struct Command: Sendable {
  /// `["member", "add"]`.
  let path: [String]
  /// Other names of the last word.
  var aliases: [String] = []
  /// What stands behind the name in a usage line.
  let usage: String
  let summary: String
  var flags: [Flag] = []
  /// The formats that its output has.
  var formats: OutputFormat.Set = .any
  /// Whether arguments may name files or programs.
  var takesFiles = false
  let run: @Sendable (Invocation) async throws -> Void

  var name: String { path.joined(separator: " ") }
}

/// One call of a command.
struct Invocation: Sendable {
  let command: Command
  let flags: FlagValues
  let arguments: [String]
  /// How many of the arguments stood before `--`; nil when there was none.
  let countBeforeDash: Int?
  let format: OutputFormat

  var printer: Printer {
    Printer(format: format, isHex: flags.bool("hex"))
  }

  /// Whether people are shown how far long work is: programs that read JSON are not.
  var showsProgress: Bool { format != .json }

  /// How long a short command may take.
  var timeout: Duration { flags.duration("command-timeout") }
}

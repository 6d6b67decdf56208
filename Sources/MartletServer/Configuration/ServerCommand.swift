/// What a command line asks the program to do.
package enum ServerCommand: Sendable {
  case serve(LoadedConfiguration)
  /// Print the text to standard output and exit with 0.
  case print(String)
  /// Print the text to standard error and exit with the code.
  case fail(String, exitCode: Int32)

  /// Reads the arguments (the program's own name not among them) and the environment, and the
  /// configuration file that they name.
  package init(arguments: [String], environment: [String: String]) {
    if arguments == ["version"] {
      self = .print(Self.versionText)
      return
    }
    do {
      let flags = try CommandLineFlags(arguments)
      if flags.values.contains(where: { $0.flag.name == "help" }) {
        self = .print(FlagHelp.text)
      } else if flags.values.contains(where: { $0.flag.name == "version" }) {
        self = .print(Self.versionText)
      } else if let word = flags.words.first {
        self = .fail("martlet: \(word.debugDescription) is no flag.\(Self.seeHelp)", exitCode: 1)
      } else {
        self = .serve(try ConfigurationLoader.load(flags: flags, environment: environment))
      }
    } catch {
      self = .fail("martlet: \(error.message)\(Self.seeHelp)", exitCode: error.exitCode)
    }
  }

  private static let seeHelp = "\nSee 'martlet --help'."

  /// Lines that scripts read: a label, a colon, a version.
  package static var versionText: String {
    let api = Version.etcdCompatible.split(separator: ".").prefix(2).joined(separator: ".")
    return "martlet Version: \(Version.martlet)\nAPI Version: \(api)"
  }
}

extension ServerConfiguration {
  /// The configuration that a command line and an environment give, checked. With
  /// `--config-file` among them, the file is read.
  public init(
    arguments: [String],
    environment: [String: String] = [:]
  ) throws(ConfigurationError) {
    let flags = try CommandLineFlags(arguments)
    if let word = flags.words.first { throw .usage("\(word.debugDescription) is no flag.") }
    self = try ConfigurationLoader.load(flags: flags, environment: environment).configuration
  }
}

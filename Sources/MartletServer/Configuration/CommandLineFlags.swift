import Flags

/// The server's flags on a command line; see `FlagReader` for the grammar.
struct CommandLineFlags {
  /// In the order given; a flag given twice is there twice.
  private(set) var values: [(flag: Flag, text: String)] = []
  /// The words after the flags.
  private(set) var words: [String] = []

  /// Reads the arguments, the program's own name not among them.
  init(_ arguments: [String]) throws(ConfigurationError) {
    let reader: FlagReader
    do {
      reader = try FlagReader(arguments) { name in
        guard let flag = FlagTable.flag(name) else { return nil }
        return flag.isBool || name == "help" || name == "version"
          ? .optional(without: "true") : .value
      }
    } catch {
      throw Self.error(error)
    }
    values = try reader.values.map { value throws(ConfigurationError) in
      guard let flag = FlagTable.flag(value.name) else { throw Self.error(.unknown(value.name)) }
      return (flag, value.text)
    }
    words = reader.words
  }

  private static func error(_ failure: FlagReader.Failure) -> ConfigurationError {
    switch failure {
    case .badSyntax(let word): return .usage("bad flag syntax: \(word)")
    case .needsArgument(let name): return .usage("flag needs an argument: --\(name)")
    case .unknown(let name):
      let hint = NearestName.hint(for: name, among: FlagTable.names, prefix: "--")
      return .usage("there is no flag --\(name).\(hint)")
    }
  }
}

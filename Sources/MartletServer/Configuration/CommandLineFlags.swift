/// What a command line says, read as Go's flag package reads it: one dash or two, `--flag value`
/// or `--flag=value`, a bool without a value, the end at `--` or at the first word that is no flag.
struct CommandLineFlags {
  /// In the order given; a flag given twice is there twice.
  private(set) var values: [(flag: Flag, text: String)] = []
  /// The words after the flags.
  private(set) var words: [String] = []

  /// Reads the arguments, the program's own name not among them.
  init(_ arguments: [String]) throws(ConfigurationError) {
    var rest = arguments[...]
    while let argument = rest.first {
      guard argument.hasPrefix("-"), argument.count > 1 else { break }
      rest = rest.dropFirst()
      if argument == "--" { break }
      let body = argument.dropFirst(argument.hasPrefix("--") ? 2 : 1)
      guard let first = body.first, first != "-", first != "=" else {
        throw .usage("bad flag syntax: \(argument)")
      }
      let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = parts[0] == "h" ? "help" : String(parts[0])
      let flag = try Self.known(name)
      if parts.count == 2 {
        values.append((flag, String(parts[1])))
      } else if flag.isBool {
        values.append((flag, "true"))
      } else if name == "help" || name == "version" {
        values.append((flag, "true"))
      } else if let value = rest.popFirst() {
        values.append((flag, value))
      } else {
        throw .usage("flag needs an argument: --\(name)")
      }
    }
    words = Array(rest)
  }

  private static func known(_ name: String) throws(ConfigurationError) -> Flag {
    if let flag = FlagTable.flag(name) { return flag }
    let hint = NearestName.hint(for: name, among: FlagTable.names, prefix: "--")
    throw .usage("there is no flag --\(name).\(hint)")
  }
}

/// What a command line says, read as Go's flag package reads it: one dash or two, `--flag value`
/// or `--flag=value`, a bool without a value, the end at `--` or at the first word that is no flag.
package struct FlagReader: Sendable {
  /// What a flag takes behind it.
  package enum Argument: Sendable {
    case value
    /// None but after `=`; what it means without one.
    case optional(without: String)
  }

  /// How a command line breaks the grammar.
  package enum Failure: Error, Hashable {
    /// The argument as it stands.
    case badSyntax(String)
    /// Names are without their dashes.
    case unknown(String)
    case needsArgument(String)
  }

  /// In the order given; a flag given twice is there twice.
  package private(set) var values: [(name: String, text: String)] = []
  /// The words after the flags.
  package private(set) var words: [String] = []

  /// Reads the arguments, the program's own name not among them. `argument` says what the flag of a
  /// name takes, nil when there is no such flag; `h` is asked for as `help`.
  package init(
    _ arguments: [String],
    argument: (_ name: String) -> Argument?
  ) throws(Failure) {
    var rest = arguments[...]
    while let word = rest.first {
      guard word.hasPrefix("-"), word.count > 1 else { break }
      rest = rest.dropFirst()
      if word == "--" { break }
      let body = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
      guard let first = body.first, first != "-", first != "=" else { throw .badSyntax(word) }
      let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = parts[0] == "h" ? "help" : String(parts[0])
      guard let argument = argument(name) else { throw .unknown(name) }
      if parts.count == 2 {
        values.append((name, String(parts[1])))
      } else if case .optional(let text) = argument {
        values.append((name, text))
      } else if let value = rest.popFirst() {
        values.append((name, value))
      } else {
        throw .needsArgument(name)
      }
    }
    words = Array(rest)
  }
}

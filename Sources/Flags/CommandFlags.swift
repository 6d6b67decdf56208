/// The flags of a subcommand such as `martlet gateway start`, with etcd's texts for its help and for
/// what is wrong with a command line.
package struct CommandFlags: Sendable {
  package enum Kind: Sendable {
    case text
    /// Comma-separated texts; a flag given again adds to them.
    case list
    case bool
    /// In Go's spelling.
    case duration
    case integer(ClosedRange<Int>)

    fileprivate var name: String {
      switch self {
      case .text: "string"
      case .list: "strings"
      case .bool: ""
      case .duration: "duration"
      case .integer: "int"
      }
    }
  }

  package struct Flag: Sendable {
    package let name: String
    package let kind: Kind
    /// What the flag is when it is not given; empty: nothing, zero or false.
    package let defaultText: String
    package let help: String

    package init(_ name: String, _ kind: Kind, _ defaultText: String = "", _ help: String) {
      self.name = name
      self.kind = kind
      self.defaultText = defaultText
      self.help = help
    }
  }

  /// Why a command line cannot be used; `text` is etcd's.
  package struct Failure: Error, Hashable, CustomStringConvertible {
    package let text: String

    package init(_ text: String) { self.text = text }

    package var description: String { text }
  }

  package enum Outcome: Sendable {
    /// `--help` was asked for.
    case help
    case values(CommandFlagValues)
  }

  /// As in `martlet gateway start`.
  package let command: String
  package let summary: String
  private let flags: [Flag]

  /// Names must differ.
  package init(command: String, summary: String, flags: [Flag]) {
    self.command = command
    self.summary = summary
    let help = Flag("help", .bool, "help for \(command.split(separator: " ").last ?? "")")
    self.flags = (flags + [help]).sorted { $0.name < $1.name }
  }

  /// Reads a command line behind the command's own words.
  package func read(_ arguments: [String]) throws(Failure) -> Outcome {
    let reader: FlagReader
    do {
      reader = try FlagReader(arguments) { name in
        flags.first { $0.name == name }.map {
          if case .bool = $0.kind { .optional(without: "true") } else { .value }
        }
      }
    } catch {
      switch error {
      case .badSyntax(let word): throw Failure("bad flag syntax: \(word)")
      case .unknown(let name): throw Failure("unknown flag: --\(name)")
      case .needsArgument(let name): throw Failure("flag needs an argument: --\(name)")
      }
    }
    var given: [String: [String]] = [:]
    for (name, text) in reader.values {
      guard let flag = flags.first(where: { $0.name == name }) else { continue }
      if let reason = Self.mismatch(text, flag.kind) {
        throw Failure(#"invalid argument "\#(text)" for "--\#(name)" flag: \#(reason)"#)
      }
      given[name, default: []].append(text)
    }
    if given["help"].flatMap({ $0.last }).flatMap({ GoValue.bool($0) }) == true { return .help }
    if let word = reader.words.first {
      throw Failure(#"unknown command "\#(word)" for "\#(command)""#)
    }
    let defaults = Dictionary(uniqueKeysWithValues: flags.map { ($0.name, $0.defaultText) })
    return .values(CommandFlagValues(given: given, defaults: defaults))
  }

  /// What Go says of a value that is none of its kind.
  private static func mismatch(_ text: String, _ kind: Kind) -> String? {
    switch kind {
    case .text, .list: return nil
    case .bool:
      return GoValue.bool(text) == nil
        ? #"strconv.ParseBool: parsing "\#(text)": invalid syntax"# : nil
    case .duration:
      return GoDuration.parse(text) == nil ? #"time: invalid duration "\#(text)""# : nil
    case .integer(let range):
      guard let value = GoValue.integer(text) else {
        return #"strconv.ParseInt: parsing "\#(text)": invalid syntax"#
      }
      return range.contains(value)
        ? nil : #"strconv.ParseInt: parsing "\#(text)": value out of range"#
    }
  }

  /// The text of `--help`.
  package var help: String { "\(summary)\n\n\(usage)" }

  /// How the command is used; a part of its help, and what follows an error.
  package var usage: String {
    let titles = flags.map { flag in
      let dashes = flag.name == "help" ? "  -h, --" : "      --"
      let kind = flag.kind.name
      return dashes + flag.name + (kind.isEmpty ? "" : " " + kind)
    }
    let width = titles.map(\.count).max() ?? 0
    let lines = zip(flags, titles).map { flag, title in
      title + String(repeating: " ", count: width - title.count + 3) + flag.help
        + Self.defaultNote(flag)
    }
    return (["Usage:", "  \(command) [flags]", "", "Flags:"] + lines).joined(separator: "\n")
  }

  private static func defaultNote(_ flag: Flag) -> String {
    guard !flag.defaultText.isEmpty else { return "" }
    switch flag.kind {
    case .text: return #" (default "\#(flag.defaultText)")"#
    case .list: return " (default [\(flag.defaultText)])"
    case .bool, .duration, .integer: return " (default \(flag.defaultText))"
    }
  }
}

extension CommandFlags.Flag {
  /// A flag that is nothing, zero or false when it is not given.
  package init(_ name: String, _ kind: CommandFlags.Kind, _ help: String) {
    self.init(name, kind, "", help)
  }
}

/// What a subcommand's flags say, checked. Asking for a name that its table lacks, or for another
/// kind of value, is a fault of the program.
package struct CommandFlagValues: Sendable {
  fileprivate let given: [String: [String]]
  fileprivate let defaults: [String: String]

  package func isGiven(_ name: String) -> Bool { given[name] != nil }

  package func text(_ name: String) -> String {
    guard let text = given[name]?.last ?? defaults[name] else {
      preconditionFailure("no flag is called \(name)")
    }
    return text
  }

  /// Without empty items and without blanks around them.
  package func list(_ name: String) -> [String] {
    let texts = given[name] ?? [text(name)]
    return texts.flatMap { $0.split(separator: ",") }.compactMap { item in
      let front = item.drop { $0 == " " }
      let trimmed = String(front.reversed().drop { $0 == " " }.reversed())
      return trimmed.isEmpty ? nil : trimmed
    }
  }

  package func bool(_ name: String) -> Bool { GoValue.bool(text(name)) ?? false }

  package func duration(_ name: String) -> Duration { GoDuration.parse(text(name)) ?? .zero }

  package func integer(_ name: String) -> Int { GoValue.integer(text(name)) ?? 0 }
}

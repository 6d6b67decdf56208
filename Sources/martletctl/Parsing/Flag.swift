import Flags

/// One flag of a command.
struct Flag: Sendable {
  enum Kind: Sendable {
    case bool
    case string
    /// A 64-bit number.
    case integer
    case duration
    /// Comma-separated; several flags add up.
    case list
  }

  /// What a shell may offer for its value.
  enum Values: Sendable {
    case any, files
    case words([String])
  }

  let name: String
  /// The letter behind one dash; nil none.
  let short: Character?
  let kind: Kind
  /// As it would be given.
  let standard: String
  let help: String
  let values: Values

  init(
    _ name: String,
    short: Character? = nil,
    _ kind: Kind = .string,
    _ standard: String = "",
    _ help: String,
    values: Values = .any
  ) {
    self.name = name
    self.short = short
    self.kind = kind
    self.standard = kind == .bool && standard.isEmpty ? "false" : standard
    self.help = help
    self.values = kind == .bool ? .words(["true", "false"]) : values
  }

  /// Why `text` is no value of this flag, in Go's words; nil when it is one.
  func objection(to text: String) -> String? {
    switch kind {
    case .string, .list: return nil
    case .bool:
      return GoValue.bool(text) == nil
        ? "strconv.ParseBool: parsing \(GoText.quoted(text)): invalid syntax" : nil
    case .integer:
      return GoText.parseInteger(text).objection
    case .duration:
      guard GoDuration.parse(text) == nil else { return nil }
      let isNumber = !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
      return isNumber
        ? "time: missing unit in duration \(GoText.quoted(text))"
        : "time: invalid duration \(GoText.quoted(text))"
    }
  }

  /// The environment's name for the flag.
  var variable: String {
    "ETCDCTL_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
  }
}

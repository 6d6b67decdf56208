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

  let name: String
  /// The letter behind one dash; nil none.
  let short: Character?
  let kind: Kind
  /// As it would be given.
  let standard: String
  let help: String

  init(
    _ name: String,
    short: Character? = nil,
    _ kind: Kind = .string,
    _ standard: String = "",
    _ help: String
  ) {
    self.name = name
    self.short = short
    self.kind = kind
    self.standard = kind == .bool && standard.isEmpty ? "false" : standard
    self.help = help
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

/// What was given for flags.
struct FlagValues: Sendable {
  private var given: [String: [String]] = [:]
  private let flags: [Flag]

  init(_ flags: [Flag]) {
    self.flags = flags
  }

  mutating func set(_ name: String, _ text: String) {
    given[name, default: []].append(text)
  }

  /// Whether the flag was given, by whatever way.
  func isSet(_ name: String) -> Bool { given[name] != nil }

  /// The last that was given, or the standard value.
  subscript(_ name: String) -> String {
    if let text = given[name]?.last { return text }
    guard let flag = flags.first(where: { $0.name == name }) else {
      preconditionFailure("there is no flag --\(name)")
    }
    return flag.standard
  }

  func bool(_ name: String) -> Bool { GoValue.bool(self[name]) ?? false }
  func integer(_ name: String) -> Int64 { GoText.parseInteger(self[name]).value ?? 0 }
  func duration(_ name: String) -> Duration { GoDuration.parse(self[name]) ?? .zero }

  /// The parts of all lists that were given, or of the standard value.
  func list(_ name: String) -> [String] {
    (given[name] ?? [self[name]]).flatMap { text in
      text.isEmpty
        ? [] : text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
  }
}

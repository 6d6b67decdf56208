import Flags

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

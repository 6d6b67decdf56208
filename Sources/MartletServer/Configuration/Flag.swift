import Flags

/// One flag of the server: the table of them is what the command line, the environment, the
/// configuration file and `--help` go by.
package struct Flag: Sendable {
  typealias Slot<Value> = WritableKeyPath<ServerConfiguration, Value>

  /// What a value looks like and where it goes; no slot when nothing reads it yet.
  ///
  /// Safe to share: a slot is a literal key path, which captures nothing that changes.
  enum Kind: @unchecked Sendable {
    case text(Slot<String>?)
    case choice([String], Slot<String>?)
    case state
    case bool(Slot<Bool>?)
    case integer(Slot<Int>?)
    case number
    /// An integer that counts milliseconds.
    case milliseconds(Slot<Duration>?)
    /// A duration in Go's spelling.
    case duration(Slot<Duration>?)
    /// Comma-separated texts.
    case list(Slot<[String]>?)
    /// A bool that sets a feature gate.
    case gate(String)
    /// Comma-separated feature gates; they come after those of older flags.
    case gates
    /// Read before all others: the configuration file, help, version.
    case command
  }

  /// What setting the flag does in this build.
  package enum Effect: Hashable, Sendable {
    case works
    /// Read and checked, and said in the log at start to have no effect yet.
    case acceptedWithoutEffect
    /// An old name of another flag, which gets the value.
    case renamed(to: String)
    /// Gone from etcd, too; the text says what to do instead.
    case gone(String)
  }

  package enum Group: String, CaseIterable, Sendable {
    case member = "Member"
    case clustering = "Clustering"
    case security = "Security"
    case auth = "Auth"
    case monitoring = "Profiling and monitoring"
    case logging = "Logging"
    case tracing = "Distributed tracing"
    case tuning = "Tuning"
    case unsafe = "Unsafe (may break what the consensus protocol guarantees)"
    case old = "Of older releases"
  }

  package let name: String
  let kind: Kind
  package let defaultText: String
  package let group: Group
  package let effect: Effect
  package let help: String

  init(
    _ name: String,
    _ kind: Kind,
    _ defaultText: String,
    _ group: Group,
    _ effect: Effect,
    _ help: String
  ) {
    self.name = name
    self.kind = kind
    self.defaultText = defaultText
    self.group = group
    self.effect = effect
    self.help = help
  }

  /// A flag that works.
  init(
    _ name: String,
    _ kind: Kind,
    _ defaultText: String,
    _ group: Group,
    _ help: String
  ) {
    self.init(name, kind, defaultText, group, .works, help)
  }

  /// The environment variable that sets the flag.
  package var environmentName: String {
    "ETCD_"
      + name.uppercased().split(separator: "-", omittingEmptySubsequences: false)
      .joined(separator: "_")
  }

  /// Whether the flag may stand without a value.
  package var isBool: Bool {
    switch kind {
    case .bool, .gate: true
    default: false
    }
  }
}

extension Flag {
  /// Puts a value into the configuration.
  ///
  /// Throws what was expected, e.g. "expected true or false". `allowsNanoseconds`: a duration may
  /// be an integer, as etcd's files have it.
  func apply(
    _ text: String,
    to configuration: inout ServerConfiguration,
    allowsNanoseconds: Bool
  ) throws(Mismatch) {
    switch kind {
    case .text(let slot):
      if let slot { configuration[keyPath: slot] = text }
    case .choice(let choices, let slot):
      guard choices.contains(text) else {
        throw Mismatch("expected \(choices.joined(separator: " or "))")
      }
      if let slot { configuration[keyPath: slot] = text }
    case .state:
      guard let state = InitialClusterState(rawValue: text) else {
        throw Mismatch("expected new or existing")
      }
      configuration.initialClusterState = state
    case .bool(let slot):
      guard let value = GoValue.bool(text) else { throw Mismatch("expected true or false") }
      if let slot { configuration[keyPath: slot] = value }
    case .gate(let gate):
      guard let value = GoValue.bool(text) else { throw Mismatch("expected true or false") }
      configuration.featureGates.append("\(gate)=\(value)")
    case .integer(let slot):
      guard let value = GoValue.integer(text) else { throw Mismatch("expected an integer") }
      if let slot { configuration[keyPath: slot] = value }
    case .number:
      guard let value = Double(text), value.isFinite else { throw Mismatch("expected a number") }
    case .milliseconds(let slot):
      guard let value = GoValue.integer(text), value >= 0, value <= Int(Int32.max) else {
        throw Mismatch("expected a number of milliseconds")
      }
      if let slot { configuration[keyPath: slot] = .milliseconds(value) }
    case .duration(let slot):
      try applyDuration(text, slot, &configuration, allowsNanoseconds)
    case .list(let slot):
      if let slot { configuration[keyPath: slot] = Self.items(text) }
    case .gates:
      configuration.featureGates += Self.items(text)
    case .command: break
    }
  }

  private func applyDuration(
    _ text: String,
    _ slot: Slot<Duration>?,
    _ configuration: inout ServerConfiguration,
    _ allowsNanoseconds: Bool
  ) throws(Mismatch) {
    let integer = allowsNanoseconds ? Int64(text) : nil
    guard let value = integer.map({ Duration.nanoseconds($0) }) ?? GoDuration.parse(text) else {
      throw Mismatch("expected a duration like 300ms, 5s or 1h30m")
    }
    if let slot { configuration[keyPath: slot] = value }
  }

  /// The items of a comma-separated list, without spaces around them and without empty ones.
  private static func items(_ text: String) -> [String] {
    text.split(separator: ",").compactMap { item in
      let words = item.drop { $0 == " " }
      let trimmed = String(words.reversed().drop { $0 == " " }.reversed())
      return trimmed.isEmpty ? nil : trimmed
    }
  }

  /// What a value should have been.
  struct Mismatch: Error {
    let expected: String
    init(_ expected: String) { self.expected = expected }
  }
}

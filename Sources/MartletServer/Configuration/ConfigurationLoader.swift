import Flags

/// Something to say in the log once it is open: what a setting does not do, or no longer.
package struct ConfigurationNotice: Hashable, Sendable {
  package let message: String
  /// The flag, variable or key that it is about.
  package let setting: String

  package init(message: String, setting: String) {
    self.message = message
    self.setting = setting
  }
}

/// A configuration together with what there is to say about how it came to be.
package struct LoadedConfiguration: Sendable {
  package var configuration: ServerConfiguration
  /// In the order of the flag table; each is said once.
  package var notices: [ConfigurationNotice]
}

/// Puts a configuration together from flags, environment and file: a flag beats a variable beats
/// the default; with a file, the file alone counts.
struct ConfigurationLoader {
  private enum Source {
    case flag
    case variable
    case file(String)
  }

  private var configuration = ServerConfiguration()
  private var notices: [ConfigurationNotice] = []
  private var given: [String: (text: String, source: Source)] = [:]

  /// Reads everything and checks it.
  static func load(
    flags: CommandLineFlags,
    environment: [String: String]
  ) throws(ConfigurationError) -> LoadedConfiguration {
    var loader = ConfigurationLoader()
    let path =
      flags.values.last { $0.flag.name == "config-file" }?.text
      ?? environment["ETCD_CONFIG_FILE"] ?? ""
    if path.isEmpty {
      loader.take(flags)
      loader.take(environment)
    } else {
      try loader.takeFile(path, flags, environment)
    }
    try loader.applyAll()
    try loader.fillIn()
    try loader.configuration.validate()
    return LoadedConfiguration(configuration: loader.configuration, notices: loader.notices)
  }

  private mutating func take(_ flags: CommandLineFlags) {
    for (flag, text) in flags.values { given[flag.name] = (text, .flag) }
  }

  private mutating func take(_ environment: [String: String]) {
    for flag in FlagTable.all {
      guard let text = environment[flag.environmentName], !text.isEmpty else { continue }
      if given[flag.name] != nil {
        note(flag.environmentName, "variable is overruled by the flag of the same name")
      } else {
        given[flag.name] = (text, .variable)
      }
    }
    let known = Set(FlagTable.all.map(\.environmentName))
    for name in environment.keys.sorted() where name.hasPrefix("ETCD_") && !known.contains(name) {
      guard name != "ETCD_UNSUPPORTED_ARCH" else { continue }
      note(name, "variable is unknown and ignored")
    }
  }

  private mutating func takeFile(
    _ path: String,
    _ flags: CommandLineFlags,
    _ environment: [String: String]
  ) throws(ConfigurationError) {
    let content = try ConfigurationFile.read(path: path)
    for (flag, text) in content.values { given[flag.name] = (text, .file(path)) }
    for key in content.unknownKeys {
      let hint = NearestName.hint(for: key, among: FlagTable.names)
      note(key, "key of the configuration file is unknown and ignored.\(hint)")
    }
    for (flag, _) in flags.values where flag.name != "config-file" {
      note("--\(flag.name)", "flag is ignored because there is a configuration file")
    }
    for flag in FlagTable.all where flag.name != "config-file" {
      guard let text = environment[flag.environmentName], !text.isEmpty else { continue }
      note(flag.environmentName, "variable is ignored because there is a configuration file")
    }
  }

  /// Old names first, so that a new name given as well has the last word.
  private mutating func applyAll() throws(ConfigurationError) {
    let old = FlagTable.renamed + FlagTable.gone
    let current = FlagTable.all.filter { $0.group != .old }
    for flag in old + current {
      guard let (text, source) = given[flag.name] else { continue }
      try apply(flag, text, source)
    }
  }

  private mutating func apply(
    _ flag: Flag,
    _ text: String,
    _ source: Source
  ) throws(ConfigurationError) {
    var target = flag
    var setting = "--\(flag.name)"
    var isFile = false
    switch source {
    case .flag: break
    case .variable: setting = flag.environmentName
    case .file:
      setting = flag.name
      isFile = true
    }
    switch flag.effect {
    case .works: break
    case .acceptedWithoutEffect:
      if text != flag.defaultText { note(setting, "setting has no effect yet") }
    case .renamed(let name):
      if let newer = FlagTable.flag(name), !flag.isGate {
        target = newer
        note(setting, "setting is deprecated, use --\(name)")
        if given[name] == nil, newer.effect == .acceptedWithoutEffect, text != newer.defaultText {
          note("--\(name)", "setting has no effect yet")
        }
      } else {
        note(setting, "setting is deprecated. \(flag.help)")
      }
    case .gone(let why):
      note(setting, "setting no longer has an effect: \(why)")
    }
    do {
      try target.apply(text, to: &configuration, allowsNanoseconds: isFile)
    } catch {
      let shown = text.count > 200 ? text.prefix(200) + "..." : text[...]
      let message = "\(setting): \(error.expected), found \(String(shown).debugDescription)."
      switch source {
      case .flag: throw .usage(message)
      case .variable: throw .invalid(message)
      case .file(let path): throw .file("configuration file \(path): \(message)")
      }
    }
  }

  /// What follows from what was given, and what must be given together.
  private mutating func fillIn() throws(ConfigurationError) {
    if given["listen-client-urls"] != nil && given["advertise-client-urls"] == nil {
      throw .invalid(
        "--advertise-client-urls is needed when --listen-client-urls is set: a member that "
          + "listens on chosen addresses must say which ones clients can reach."
      )
    }
    try checkBootstrap()
    if given["initial-cluster"] == nil,
      configuration.name != "default" || given["initial-advertise-peer-urls"] != nil
    {
      configuration.initialCluster = configuration.initialAdvertisePeerURLs
        .map { "\(configuration.name)=\($0)" }.joined(separator: ",")
    }
    for (gate, why) in FeatureGates.withoutEffect(configuration.featureGates) {
      note("--feature-gates", "gate \(gate) has no effect: \(why)")
    }
    if configuration.enableLogRotation,
      try LogRotation(json: configuration.logRotationJSON).wantsCompression
    {
      note("--log-rotation-config-json", "compress has no effect: files put aside stay as they are")
    }
    if configuration.maxRequestBytes > ServerConfiguration.Bound.requestBytesRecommendedMax {
      note("--max-request-bytes", "requests of more than 10 MiB slow every member down")
    }
  }

  /// Only one way to name the founders can hold.
  private func checkBootstrap() throws(ConfigurationError) {
    let ways = ["initial-cluster", "discovery", "discovery-endpoints", "discovery-srv"]
    let found = ways.filter { given[$0].map { !$0.text.isEmpty } ?? false }
    guard found.count < 2 else {
      throw .invalid(
        "multiple discovery or bootstrap configuration flags are set ("
          + found.map { "--\($0)" }.joined(separator: ", ") + "). Choose one of "
          + ways.map { "--\($0)" }.joined(separator: ", ") + "."
      )
    }
  }

  private mutating func note(_ setting: String, _ message: String) {
    let notice = ConfigurationNotice(message: message, setting: setting)
    if !notices.contains(notice) { notices.append(notice) }
  }
}

extension Flag {
  fileprivate var isGate: Bool {
    if case .gate = kind { true } else { false }
  }
}

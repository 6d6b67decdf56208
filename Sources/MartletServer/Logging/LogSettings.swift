package import Logging

/// What the log flags ask for.
package struct LogSettings: Hashable, Sendable {
  package enum Format: String, Sendable {
    case json
    case console
  }

  package enum Output: Hashable, Sendable {
    case standardError
    case standardOutput
    case file(String)
  }

  package let level: Logger.Level
  package let format: Format
  /// In the order given, without duplicates, never empty.
  package let outputs: [Output]
  /// When files are put aside; nil: never.
  package let rotation: LogRotation?

  /// The names of `--log-level`.
  package static let levelNames = ["debug", "info", "warn", "error", "panic", "fatal"]

  package init(
    level: Logger.Level,
    format: Format,
    outputs: [Output],
    rotation: LogRotation? = nil
  ) {
    self.rotation = rotation
    self.level = level
    self.format = format
    self.outputs = outputs
  }

  init(_ configuration: ServerConfiguration) throws(ConfigurationError) {
    guard let level = Self.level(named: configuration.logLevel) else {
      throw .invalid(
        "--log-level must be one of \(Self.levelNames.joined(separator: ", ")) (is "
          + "\(configuration.logLevel.debugDescription))."
      )
    }
    guard let format = Format(rawValue: configuration.logFormat) else {
      throw .invalid(
        "--log-format must be json or console (is \(configuration.logFormat.debugDescription))."
      )
    }
    let names = configuration.logOutputs
    guard !names.isEmpty, names.allSatisfy({ !$0.isEmpty }) else {
      throw .invalid("--log-outputs must name at least one output.")
    }
    guard names == ["default"] || !names.contains("default") else {
      throw .invalid("--log-outputs: default cannot be combined with other outputs.")
    }
    guard !names.contains("systemd/journal") else {
      throw .invalid(
        "--log-outputs: systemd/journal is not built; use stderr, which systemd keeps."
      )
    }
    var outputs: [Output] = []
    for name in names {
      let output: Output
      switch name {
      case "default", "stderr": output = .standardError
      case "stdout": output = .standardOutput
      default: output = .file(name)
      }
      if !outputs.contains(output) { outputs.append(output) }
    }
    let rotation = try LogRotation(json: configuration.logRotationJSON)
    let fileCount = outputs.count { if case .file = $0 { true } else { false } }
    guard !configuration.enableLogRotation || fileCount == 1 else {
      throw .invalid("--log-outputs requires a single file path when --enable-log-rotation is set.")
    }
    self.init(
      level: level,
      format: format,
      outputs: outputs,
      rotation: configuration.enableLogRotation ? rotation : nil
    )
  }

  /// The level that a name of `--log-level` stands for.
  package static func level(named name: String) -> Logger.Level? {
    switch name {
    case "debug": .debug
    case "info": .info
    case "warn": .warning
    case "error": .error
    case "panic", "fatal": .critical
    default: nil
    }
  }

  /// The further names that etcd 3.4 takes at run time.
  static func olderLevel(named name: String) -> Logger.Level? {
    switch name {
    case "critical": .critical
    case "warning": .warning
    case "notice": .notice
    case "trace": .trace
    default: nil
    }
  }

  /// The name that a level has in the log.
  static func name(of level: Logger.Level) -> String {
    switch level {
    case .trace, .debug: "debug"
    case .info, .notice: "info"
    case .warning: "warn"
    case .error: "error"
    case .critical: "fatal"
    }
  }
}

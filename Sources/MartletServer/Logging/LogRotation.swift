import Yams

/// When a log file is put aside and a new one begun: what `--log-rotation-config-json` says, in
/// lumberjack's words as etcd has them.
package struct LogRotation: Hashable, Sendable {
  /// A line that would make the file larger than this begins a new one.
  package var fileBytesMax = fileMebibytesDefault << 20
  /// Files put aside are removed when they are older than so many days; 0 keeps them.
  package var ageDaysMax = 0
  /// So many files put aside are kept, the newest; 0 keeps all.
  package var backupsMax = 0
  /// The names of files put aside have local time, and not UTC.
  package var usesLocalTime = false
  /// Asked for and not done: files put aside stay as they are.
  package var wantsCompression = false

  static let fileMebibytesDefault = 100
  static let fileMebibytesMax = 1 << 20
  static let countMax = 1 << 20

  package init() {}

  /// Reads the flag's JSON. Throws what is wrong with it.
  package init(json: String) throws(ConfigurationError) {
    let flag = "--log-rotation-config-json"
    let root: Node?
    do {
      root = try compose(yaml: json)
    } catch {
      throw .invalid("\(flag): not valid JSON: \(json.debugDescription).")
    }
    guard let mapping = root?.mapping else {
      throw .invalid("\(flag): expected a JSON object, found \(json.debugDescription).")
    }
    for (key, value) in mapping {
      let name = key.string ?? ""
      switch name {
      case "maxsize":
        let size = try Self.count(value, name, max: Self.fileMebibytesMax)
        fileBytesMax = (size == 0 ? Self.fileMebibytesDefault : size) << 20
      case "maxage": ageDaysMax = try Self.count(value, name, max: Self.countMax)
      case "maxbackups": backupsMax = try Self.count(value, name, max: Self.countMax)
      case "localtime": usesLocalTime = try Self.bool(value, name)
      case "compress": wantsCompression = try Self.bool(value, name)
      default:
        throw .invalid(
          "\(flag): there is no \(name.debugDescription); expected maxsize, maxage, maxbackups, "
            + "localtime or compress."
        )
      }
    }
  }

  private static func count(
    _ value: Node,
    _ name: String,
    max: Int
  ) throws(ConfigurationError) -> Int {
    guard let count = value.int, (0...max).contains(count) else {
      throw .invalid(
        "--log-rotation-config-json: \(name) must be a whole number from 0 to \(max)."
      )
    }
    return count
  }

  private static func bool(_ value: Node, _ name: String) throws(ConfigurationError) -> Bool {
    guard let bool = value.bool else {
      throw .invalid("--log-rotation-config-json: \(name) must be true or false.")
    }
    return bool
  }
}

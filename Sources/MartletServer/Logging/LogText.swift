import Base
package import Logging

/// Turns log events into lines; no I/O.
package enum LogText {
  /// Metadata nested deeper than this is written as "...".
  static let depthMax = 8

  /// One JSON object with zap's keys: level, ts, caller, msg, then the fields by name. A field
  /// that has one of those names gets `field.` before it.
  package static func json(
    time: String,
    level: String,
    caller: String,
    message: String,
    fields: Logger.Metadata
  ) -> String {
    var line = "{\"level\":\(quoted(level)),\"ts\":\(quoted(time)),\"caller\":\(quoted(caller))"
    line += ",\"msg\":\(quoted(message))"
    for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
      let isTaken = ["level", "ts", "caller", "msg"].contains(key)
      line += ",\(quoted(isTaken ? "field.\(key)" : key)):\(json(value, depth: 0))"
    }
    return line + "}"
  }

  /// `time LEVEL message key=value ...`, for people. Control characters are escaped, and values
  /// that hold spaces are quoted, so that an event is always one line.
  package static func console(
    time: String,
    level: String,
    message: String,
    fields: Logger.Metadata
  ) -> String {
    let padded = level.uppercased() + String(repeating: " ", count: max(0, 5 - level.count))
    var line = "\(time) \(padded) \(escaped(message, quotes: false))"
    for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
      line += " \(escaped(key, quotes: false))="
      switch value {
      case .string(let text): line += plain(text)
      case .stringConvertible(let value): line += plain(value.description)
      case .array, .dictionary: line += json(value, depth: 0)
      }
    }
    return line
  }

  private static func plain(_ text: String) -> String {
    let isPlain = text.unicodeScalars.allSatisfy {
      $0 != " " && $0 != "\"" && $0 != "=" && !mustEscape($0)
    }
    return isPlain && !text.isEmpty ? text : quoted(text)
  }

  private static func json(_ value: Logger.Metadata.Value, depth: Int) -> String {
    guard depth < depthMax else { return "\"...\"" }
    switch value {
    case .string(let text): return quoted(text)
    case .stringConvertible(let value):
      switch value {
      case let integer as any BinaryInteger: return integer.description
      case let bool as Bool: return bool ? "true" : "false"
      default: return quoted(value.description)
      }
    case .array(let items):
      return "[" + items.map { json($0, depth: depth + 1) }.joined(separator: ",") + "]"
    case .dictionary(let entries):
      let texts = entries.sorted { $0.key < $1.key }
        .map { "\(quoted($0.key)):\(json($0.value, depth: depth + 1))" }
      return "{" + texts.joined(separator: ",") + "}"
    }
  }

  /// A JSON string.
  package static func quoted(_ text: String) -> String {
    "\"\(escaped(text, quotes: true))\""
  }

  private static func mustEscape(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar.value == 0x2028
      || scalar.value == 0x2029
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"" where quotes: result += "\\\""
      case "\\" where quotes: result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where mustEscape(scalar):
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// UTC with milliseconds, as zap writes it: `2026-11-23T19:26:07.472Z`.
  package static func timestamp(nanosecondsSince1970 time: Int64) -> String {
    let parts = SystemTime.utc(secondsSince1970: time / 1_000_000_000)
    let date = "\(parts.year)-\(two(parts.month))-\(two(parts.day))"
    let clock = "\(two(parts.hour)):\(two(parts.minute)):\(two(parts.second))"
    let milliseconds = String(1000 + time % 1_000_000_000 / 1_000_000).dropFirst()
    return "\(date)T\(clock).\(milliseconds)Z"
  }

  private static func two(_ value: Int) -> String {
    value < 10 ? "0\(value)" : String(value)
  }
}

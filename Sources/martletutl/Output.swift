import ArgumentParser
import Glibc
import Terminal

/// `--write-out`.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case simple
  case table
  case json
  case fields
}

/// An output format that a command does not have.
struct UnsupportedFormat: Error, CustomStringConvertible {
  let description: String
}

struct OutputOptions: ParsableArguments {
  @Option(
    name: [.customShort("w"), .customLong("write-out")],
    help: "The output format: fields, json, simple or table."
  )
  var writeOut = "simple"

  /// Throws `UnsupportedFormat`.
  func format() throws(UnsupportedFormat) -> OutputFormat {
    if let format = OutputFormat(rawValue: writeOut) { return format }
    throw UnsupportedFormat(
      description: writeOut == "protobuf"
        ? "protobuf not supported as output format" : "unsupported output format"
    )
  }
}

/// One figure of an answer.
struct Figure {
  enum Value {
    case number(Int64)
    case text(String)
    case flag(Bool)
  }

  /// In a table's head, and as `fields` and `json` name it.
  let title: String
  let field: String
  let key: String
  let value: Value
  /// What tables and simple lists show, where that is not the value itself.
  let shown: String

  init(_ title: String, _ field: String, _ key: String, _ value: Value, shown: String? = nil) {
    self.title = title
    self.field = field
    self.key = key
    self.value = value
    self.shown = shown ?? value.plain
  }

  init(_ title: String, _ field: String, _ key: String, _ number: some BinaryInteger) {
    self.init(title, field, key, .number(Int64(clamping: number)))
  }
}

extension Figure.Value {
  var plain: String {
    switch self {
    case .number(let number): "\(number)"
    case .text(let text): text
    case .flag(let flag): "\(flag)"
    }
  }

  var json: String {
    if case .text(let text) = self { return JSONText.quoted(text) }
    return plain
  }
}

/// Prints answers.
enum Output {
  static func print(_ figures: [Figure], as format: OutputFormat) {
    switch format {
    case .simple: Swift.print(figures.map(\.shown).joined(separator: ", "))
    case .fields:
      for figure in figures { Swift.print("\"\(figure.field)\" : \(figure.value.plain)") }
    case .json:
      let members = figures.map { "\(JSONText.quoted($0.key)):\($0.value.json)" }
      Swift.print("{\(members.joined(separator: ","))}")
    case .table: printTable(figures)
    }
  }

  /// As Go's tablewriter does: titles in the middle, cells to the right.
  private static func printTable(_ figures: [Figure]) {
    let widths = figures.map { max($0.title.count, $0.shown.count) }
    let line = "+" + widths.map { String(repeating: "-", count: $0 + 2) + "+" }.joined()
    let titles = zip(figures, widths).map { figure, width in
      let left = (width - figure.title.count) / 2
      let right = width - figure.title.count - left
      return spaces(left) + figure.title.uppercased() + spaces(right)
    }
    let cells = zip(figures, widths).map { spaces($1 - $0.shown.count) + $0.shown }
    Swift.print(line)
    Swift.print("| \(titles.joined(separator: " | ")) |")
    Swift.print(line)
    Swift.print("| \(cells.joined(separator: " | ")) |")
    Swift.print(line)
  }

  private static func spaces(_ count: Int) -> String {
    String(repeating: " ", count: max(count, 0))
  }

  /// A word to the operator, beside the answer.
  static func note(_ text: String) {
    Progress.abandon()
    StandardError.write("\(text)\n")
  }
}

enum JSONText {
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\t": quoted += "\\t"
      case let scalar where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}

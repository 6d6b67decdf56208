/// A table with a frame, laid out as etcdctl's are: headings centred, cells to the right.
struct TextTable {
  let headings: [String]
  var rows: [[String]] = []

  /// Words of longer cells go on in another line.
  static let cellWidthMax = 30

  func text() -> String {
    let cells = rows.map { $0.map(Self.lines) }
    let widths = headings.indices.map { column in
      max(headings[column].count, cells.flatMap { $0[column].map(\.count) }.max() ?? 0)
    }
    let edge = "+" + widths.map { String(repeating: "-", count: $0 + 2) + "+" }.joined()
    var lines = [edge, Self.line(headings, widths, Self.centred), edge]
    for row in cells {
      for index in 0..<(row.map(\.count).max() ?? 0) {
        let parts = row.map { index < $0.count ? $0[index] : "" }
        lines.append(Self.line(parts, widths, Self.atRight))
      }
    }
    if !rows.isEmpty { lines.append(edge) }
    return lines.joined(separator: "\n")
  }

  private static func line(
    _ parts: [String],
    _ widths: [Int],
    _ place: (String, Int) -> String
  ) -> String {
    "|" + zip(parts, widths).map { " \(place($0, $1)) |" }.joined()
  }

  private static func centred(_ text: String, _ width: Int) -> String {
    let gap = width - text.count
    let left = String(repeating: " ", count: gap / 2)
    return left + text + String(repeating: " ", count: gap - gap / 2)
  }

  private static func atRight(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: width - text.count) + text
  }

  private static func lines(_ text: String) -> [String] {
    var lines: [String] = []
    for word in text.split(separator: " ") {
      if let last = lines.last, last.count + 1 + word.count <= cellWidthMax {
        lines[lines.count - 1] = last + " " + word
      } else {
        lines.append(String(word))
      }
    }
    return lines.isEmpty ? [""] : lines
  }
}

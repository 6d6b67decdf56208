/// Writes metrics in Prometheus' text format, version 0.0.4.
package enum Exposition {
  package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// The page of `families`, sorted by name. Families of one name are joined when their types agree;
  /// otherwise the first one stays and the others are left out, as are those without samples.
  package static func text(_ families: [MetricFamily]) -> String {
    var byName: [String: MetricFamily] = [:]
    for family in families where !family.samples.isEmpty {
      let name = family.definition.name
      guard var known = byName[name] else {
        byName[name] = family
        continue
      }
      guard known.definition.kind == family.definition.kind else { continue }
      let taken = Set(known.samples.map(\.labels))
      known.samples += family.samples.filter { !taken.contains($0.labels) }
      byName[name] = known
    }
    var text = ""
    for (_, family) in byName.sorted(by: { $0.key < $1.key }) { write(family, to: &text) }
    return text
  }

  private static func write(_ family: MetricFamily, to text: inout String) {
    let name = family.definition.name
    if !family.definition.help.isEmpty {
      text += "# HELP \(name) \(escaped(family.definition.help, quotes: false))\n"
    }
    text += "# TYPE \(name) \(family.definition.kind.rawValue)\n"
    for sample in family.samples {
      switch sample.value {
      case .number(let value):
        writeLine(name, sample.labels, number(value), to: &text)
      case .histogram(let histogram):
        write(histogram, name, sample.labels, to: &text)
      }
    }
  }

  private static func write(
    _ histogram: HistogramSnapshot,
    _ name: String,
    _ labels: [MetricLabel],
    to text: inout String
  ) {
    let bounds = histogram.bounds.map(bound) + ["+Inf"]
    for (bound, count) in zip(bounds, histogram.cumulative) {
      writeLine("\(name)_bucket", labels + [MetricLabel("le", bound)], String(count), to: &text)
    }
    writeLine("\(name)_sum", labels, number(histogram.sum), to: &text)
    writeLine("\(name)_count", labels, String(histogram.count), to: &text)
  }

  private static func writeLine(
    _ name: String,
    _ labels: [MetricLabel],
    _ value: String,
    to text: inout String
  ) {
    text += name
    if !labels.isEmpty {
      text += "{"
      for (place, label) in labels.enumerated() {
        if place > 0 { text += "," }
        text += "\(label.name)=\"\(escaped(label.value, quotes: true))\""
      }
      text += "}"
    }
    text += " \(value)\n"
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += #"\\"#
      case "\n": result += #"\n"#
      case "\"" where quotes: result += #"\""#
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// A value: whole numbers as such, others in their shortest decimal form.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return Int64(exactly: value).map(String.init) ?? String(value)
  }

  /// A bucket's bound as Go's clients spell it: dashboards compare `le` as text. With an exponent from
  /// a million on, without a fraction that is zero.
  static func bound(_ value: Double) -> String {
    guard value.isFinite else { return number(value) }
    guard abs(value) >= 1e21 || (abs(value) >= 1e6 && value == value.rounded()) else {
      return number(value)
    }
    var digits = Int64(exactly: value).map { String(abs($0)) } ?? ""
    guard !digits.isEmpty else { return String(value) }
    let exponent = digits.count - 1
    while digits.last == "0" { digits.removeLast() }
    let mantissa = digits.prefix(1) + (digits.count > 1 ? "." + digits.dropFirst() : "")
    return (value < 0 ? "-" : "") + mantissa + "e+" + (exponent < 10 ? "0" : "") + String(exponent)
  }
}

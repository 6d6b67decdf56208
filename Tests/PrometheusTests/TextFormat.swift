/// A strict reader of Prometheus' text format, version 0.0.4, written from its description and
/// knowing nothing of the writer.
struct TextFormat {
  struct Sample: Equatable {
    var name: String
    var labels: [String: String]
    var value: Double
  }

  struct Family: Equatable {
    var type: String
    var help: String?
    var samples: [Sample] = []
  }

  struct Violation: Error, Equatable {
    var line: String
    var reason: String
  }

  private(set) var families: [String: Family] = [:]
  private var current: String?
  private var seen: Set<String> = []

  init(_ text: String) throws {
    guard text.isEmpty || text.hasSuffix("\n") else {
      throw Violation(line: String(text.suffix(40)), reason: "no line end at the end")
    }
    var helps: [String: String] = [:]
    for line in text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init) {
      if line.hasPrefix("# HELP ") {
        let parts = line.dropFirst(7).split(separator: " ", maxSplits: 1).map(String.init)
        let name = parts.first ?? ""
        guard helps[name] == nil else { throw Violation(line: line, reason: "second HELP") }
        guard families[name] == nil else { throw Violation(line: line, reason: "HELP after TYPE") }
        helps[name] = parts.count > 1 ? try Self.unescaped(parts[1], quotes: false, line) : ""
      } else if line.hasPrefix("# TYPE ") {
        let parts = line.dropFirst(7).split(separator: " ").map(String.init)
        guard parts.count == 2, ["counter", "gauge", "histogram"].contains(parts[1]) else {
          throw Violation(line: line, reason: "TYPE")
        }
        guard families[parts[0]] == nil else { throw Violation(line: line, reason: "second TYPE") }
        families[parts[0]] = Family(type: parts[1], help: helps[parts[0]])
        current = parts[0]
      } else if !line.hasPrefix("#") {
        try take(line)
      }
    }
    for (name, family) in families where family.type == "histogram" {
      try Self.checkHistogram(name, family)
    }
  }

  private mutating func take(_ line: String) throws {
    let sample = try Self.sample(line)
    guard let current, let family = families[current] else {
      throw Violation(line: line, reason: "a sample without TYPE")
    }
    let names =
      family.type == "histogram"
      ? ["_bucket", "_sum", "_count"].map { current + $0 } : [current]
    guard names.contains(sample.name) else {
      throw Violation(line: line, reason: "not of \(current), whose group is open")
    }
    let key = sample.name + sample.labels.sorted { $0.key < $1.key }.description
    guard seen.insert(key).inserted else { throw Violation(line: line, reason: "twice") }
    families[current]?.samples.append(sample)
  }

  /// Buckets ascend, end with +Inf, and agree with the count.
  private static func checkHistogram(_ name: String, _ family: Family) throws {
    func rest(_ sample: Sample) -> [String: String] { sample.labels.filter { $0.key != "le" } }
    let groups = Dictionary(grouping: family.samples, by: rest)
    for (labels, samples) in groups {
      let buckets = samples.filter { $0.name.hasSuffix("_bucket") }
      let bounds = buckets.map { $0.labels["le"].flatMap(number) ?? .nan }
      let counts = buckets.map(\.value)
      let count = samples.filter { $0.name.hasSuffix("_count") }.map(\.value)
      let isSound =
        zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 } && bounds.last == .infinity
        && zip(counts, counts.dropFirst()).allSatisfy { $0 <= $1 } && count == [counts.last]
        && samples.filter { $0.name.hasSuffix("_sum") }.count == 1
      guard isSound else { throw Violation(line: "\(name)\(labels)", reason: "histogram") }
    }
  }

  static func number(_ text: String) -> Double? {
    switch text {
    case "+Inf": .infinity
    case "-Inf": -.infinity
    case "NaN": .nan
    default: text.contains { $0.isLetter && $0 != "e" } ? nil : Double(text)
    }
  }

  private static func sample(_ line: String) throws -> Sample {
    var rest = Substring(line)
    let name = String(rest.prefix { $0 != "{" && $0 != " " })
    rest = rest.dropFirst(name.count)
    guard isName(name, colon: true) else { throw Violation(line: line, reason: "name") }
    var labels: [String: String] = [:]
    if rest.first == "{" {
      rest = rest.dropFirst()
      while rest.first != "}" {
        let label = String(rest.prefix { $0 != "=" })
        guard isName(label, colon: false), labels[label] == nil else {
          throw Violation(line: line, reason: "label \(label)")
        }
        rest = rest.dropFirst(label.count)
        guard rest.hasPrefix("=\"") else { throw Violation(line: line, reason: "label's value") }
        rest = rest.dropFirst(2)
        var raw = ""
        while let next = rest.first, next != "\"" {
          raw.append(next)
          rest = rest.dropFirst()
          if next == "\\", let escaped = rest.first {
            raw.append(escaped)
            rest = rest.dropFirst()
          }
        }
        guard rest.first == "\"" else { throw Violation(line: line, reason: "open quote") }
        rest = rest.dropFirst()
        labels[label] = try unescaped(raw, quotes: true, line)
        if rest.first == "," { rest = rest.dropFirst() }
      }
      rest = rest.dropFirst()
    }
    guard rest.first == " ", let value = number(String(rest.dropFirst())) else {
      throw Violation(line: line, reason: "value")
    }
    return Sample(name: name, labels: labels, value: value)
  }

  private static func isName(_ name: String, colon: Bool) -> Bool {
    guard let first = name.first, !first.isNumber else { return false }
    return name.allSatisfy {
      $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || (colon && $0 == ":"))
    }
  }

  private static func unescaped(_ text: String, quotes: Bool, _ line: String) throws -> String {
    var result = ""
    var escape = false
    for character in text {
      switch (escape, character) {
      case (false, "\\"):
        escape = true
        continue
      case (true, "n"): result.append("\n")
      case (true, "\\"): result.append("\\")
      case (true, "\"") where quotes: result.append("\"")
      case (true, _): throw Violation(line: line, reason: "escape \\\(character)")
      case (false, _): result.append(character)
      }
      escape = false
    }
    guard !escape else { throw Violation(line: line, reason: "open escape") }
    return result
  }
}

/// One label of a sample.
package struct MetricLabel: Hashable, Comparable, Sendable {
  package let name: String
  package let value: String

  package init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }

  package static func < (left: MetricLabel, right: MetricLabel) -> Bool {
    (left.name, left.value) < (right.name, right.value)
  }
}

/// What is known of a metric before anything is measured.
package struct MetricDefinition: Sendable, Hashable {
  /// Raw values are the words of the text format.
  package enum Kind: String, Sendable {
    case counter
    case gauge
    case histogram
  }

  package let name: String
  package let kind: Kind
  /// One sentence for people.
  package let help: String
  /// Upper bounds of a histogram's buckets, ascending, without the infinite one; empty for others.
  package let bounds: [Double]

  package init(_ name: String, _ kind: Kind, _ help: String, bounds: [Double] = []) {
    precondition(MetricName.isValid(name), "\(name) is no name for a metric")
    precondition(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "bounds of \(name)")
    self.name = name
    self.kind = kind
    self.help = help
    self.bounds = bounds
  }
}

/// A histogram at one moment.
package struct HistogramSnapshot: Sendable, Hashable {
  package let bounds: [Double]
  /// How many values were at most each bound, and then how many there were at all.
  package let cumulative: [UInt64]
  package let sum: Double

  package var count: UInt64 { cumulative.last ?? 0 }

  /// `counts`: values in each bucket alone, the infinite one last.
  package init(bounds: [Double], counts: [UInt64], sum: Double) {
    precondition(counts.count == bounds.count + 1, "\(counts.count) of \(bounds.count + 1) buckets")
    self.bounds = bounds
    var total: UInt64 = 0
    cumulative = counts.map { count in
      total &+= count
      return total
    }
    self.sum = sum
  }
}

/// One line of a metric, or a histogram's group of lines.
package struct MetricSample: Sendable, Hashable {
  package enum Value: Sendable, Hashable {
    case number(Double)
    case histogram(HistogramSnapshot)
  }

  /// Sorted by name.
  package let labels: [MetricLabel]
  package let value: Value

  package init(_ value: Value, _ labels: [MetricLabel] = []) {
    self.value = value
    self.labels = labels.sorted()
  }
}

/// All samples of one metric at one moment.
package struct MetricFamily: Sendable, Hashable {
  package let definition: MetricDefinition
  package var samples: [MetricSample]

  package init(_ definition: MetricDefinition, _ samples: [MetricSample]) {
    self.definition = definition
    self.samples = samples
  }

  /// A metric without labels.
  package init(_ definition: MetricDefinition, _ value: Double) {
    self.init(definition, [MetricSample(.number(value))])
  }
}

/// The characters that names may have.
package enum MetricName {
  package static func isValid(_ name: String) -> Bool {
    name.unicodeScalars.allSatisfy { isAllowed($0) || $0 == ":" } && !startsWithDigit(name)
      && !name.isEmpty
  }

  /// A metric's name made of any text: what is not allowed becomes `_`.
  package static func metric(from text: String) -> String {
    cleaned(text, allowsColon: true)
  }

  /// A label's name made of any text: what is not allowed becomes `_`.
  package static func label(from text: String) -> String {
    cleaned(text, allowsColon: false)
  }

  private static func cleaned(_ text: String, allowsColon: Bool) -> String {
    var name = startsWithDigit(text) || text.isEmpty ? "_" : ""
    for scalar in text.unicodeScalars {
      let isKept = isAllowed(scalar) || (allowsColon && scalar == ":")
      name.unicodeScalars.append(isKept ? scalar : "_")
    }
    return name
  }

  private static func startsWithDigit(_ text: String) -> Bool {
    text.unicodeScalars.first.map { ("0"..."9").contains($0) } ?? false
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || ("0"..."9").contains(scalar)
      || scalar == "_"
  }
}

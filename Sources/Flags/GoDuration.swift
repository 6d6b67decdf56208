/// Durations as Go writes them: `300ms`, `1.5h`, `2h45m`, `-5s`. Units: ns, us (or µs), ms, s, m, h.
package enum GoDuration {
  private static let units: [(suffix: String, nanoseconds: Int64)] = [
    ("ns", 1), ("us", 1000), ("\u{b5}s", 1000), ("\u{3bc}s", 1000), ("ms", 1_000_000),
    ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
  ]

  /// Reads a duration; nothing when it is none, or does not fit 64 bits of nanoseconds.
  package static func parse(_ text: String) -> Duration? {
    var rest = Substring(text)
    let isNegative = rest.hasPrefix("-")
    if isNegative || rest.hasPrefix("+") { rest = rest.dropFirst() }
    if rest == "0" { return .zero }
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      guard let part = parsePart(&rest) else { return nil }
      let (sum, overflow) = total.addingReportingOverflow(part)
      if overflow { return nil }
      total = sum
    }
    return .nanoseconds(isNegative ? -total : total)
  }

  private static func parsePart(_ rest: inout Substring) -> Int64? {
    let isDigit: (Character) -> Bool = { ("0"..."9").contains($0) }
    let whole = rest.prefix(while: isDigit)
    rest = rest.dropFirst(whole.count)
    var fraction = Substring()
    if rest.hasPrefix(".") {
      rest = rest.dropFirst()
      fraction = rest.prefix(while: isDigit)
      rest = rest.dropFirst(fraction.count)
    }
    guard !whole.isEmpty || !fraction.isEmpty else { return nil }
    let suffix = rest.prefix { !isDigit($0) && $0 != "." }
    rest = rest.dropFirst(suffix.count)
    guard let unit = units.first(where: { $0.suffix == suffix })?.nanoseconds,
      let count = whole.isEmpty ? 0 : Int64(whole)
    else { return nil }
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    if overflow { return nil }
    var remainder: Int64 = 0
    var scale = unit
    for digit in fraction.prefix(18) {
      let value = Int64(digit.wholeNumberValue ?? 0)
      remainder += scale / 10 * value + scale % 10 * value / 10
      scale /= 10
    }
    let (sum, tooLarge) = product.addingReportingOverflow(remainder)
    return tooLarge ? nil : sum
  }

  /// A duration in Go's spelling: `1h0m0s`, `300ms`, `0s`.
  package static func text(_ duration: Duration) -> String {
    let total = nanoseconds(duration)
    if total == 0 { return "0s" }
    let sign = total < 0 ? "-" : ""
    let size = total.magnitude
    if size < 1000 { return "\(sign)\(size)ns" }
    if size < 1_000_000 { return sign + decimal(size, 1000) + "\u{b5}s" }
    if size < 1_000_000_000 { return sign + decimal(size, 1_000_000) + "ms" }
    let minutes = size / 60_000_000_000
    let seconds = decimal(size % 60_000_000_000, 1_000_000_000) + "s"
    if minutes == 0 { return sign + seconds }
    if minutes < 60 { return "\(sign)\(minutes)m\(seconds)" }
    return "\(sign)\(minutes / 60)h\(minutes % 60)m\(seconds)"
  }

  private static func decimal(_ value: UInt64, _ unit: UInt64) -> String {
    guard value % unit != 0 else { return String(value / unit) }
    let width = String(unit).utf8.count - 1
    let digits = String(value % unit)
    let padded = String(repeating: "0", count: width - digits.utf8.count) + digits
    let trailing = padded.reversed().prefix { $0 == "0" }.count
    return "\(value / unit).\(padded.dropLast(trailing))"
  }

  /// The duration in nanoseconds, at most what 64 bits hold.
  package static func nanoseconds(_ duration: Duration) -> Int64 {
    let (seconds, attoseconds) = duration.components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds < 0 ? Int64.min : Int64.max }
    let (sum, tooLarge) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
    return tooLarge ? (seconds < 0 ? Int64.min : Int64.max) : sum
  }
}

import Histogram
import RPC

/// What a load measured.
struct LoadResult: Sendable {
  /// Of calls that succeeded, in microseconds.
  var latencies = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
  var failures = 0
  var seconds = 0.0
  /// The failures by what they said: at most `kindsMax` kinds are told apart.
  private(set) var failureKinds: [String: Int] = [:]

  private static let kindsMax = 16

  mutating func note(_ status: RPCStatus) {
    note(text: "\(status)")
  }

  mutating func note(text kind: String) {
    guard failureKinds[kind] != nil || failureKinds.count < Self.kindsMax else { return }
    failureKinds[kind, default: 0] += 1
  }

  mutating func add(_ other: LoadResult) {
    latencies.add(other.latencies)
    failures += other.failures
    seconds = max(seconds, other.seconds)
    failureKinds.merge(other.failureKinds, uniquingKeysWith: +)
  }

  var succeeded: Int { Int(latencies.totalCount) }
  var rate: Double { seconds > 0 ? Double(succeeded) / seconds : 0 }

  private static let percentiles: [(name: String, value: Double)] = [
    ("p50", 50), ("p90", 90), ("p99", 99), ("p999", 99.9), ("p9999", 99.99),
  ]

  /// The report as one line of JSON.
  var json: String {
    #"{"succeeded":\#(succeeded),"failed":\#(failures),"seconds":\#(Self.format(seconds)),"#
      + #""rate":\#(Self.format(rate)),"latencyMilliseconds":\#(Self.json(latencies))}"#
  }

  /// A histogram of microseconds as a JSON object of milliseconds.
  static func json(_ latencies: Histogram<UInt64>) -> String {
    var latency = [#""mean":\#(format(latencies.mean / 1000))"#]
    for percentile in percentiles {
      let value = Double(latencies.valueAtPercentile(percentile.value)) / 1000
      latency.append(#""\#(percentile.name)":\#(format(value))"#)
    }
    latency.append(#""max":\#(format(Double(latencies.max) / 1000))"#)
    return "{\(latency.joined(separator: ","))}"
  }

  /// The report for people.
  var text: String {
    var lines = [
      "\(succeeded) calls in \(Self.format(seconds)) s: \(Self.format(rate)) a second"
    ]
    lines.append("latency:")
    lines += Self.lines(latencies)
    for (kind, count) in failureKinds.sorted(by: { $0.key < $1.key }) {
      lines.append("failed \(count) times: \(kind)")
    }
    return lines.joined(separator: "\n")
  }

  /// A histogram of microseconds for people.
  static func lines(_ latencies: Histogram<UInt64>) -> [String] {
    var lines = ["  mean: \(format(latencies.mean / 1000)) ms"]
    for percentile in percentiles {
      let value = Double(latencies.valueAtPercentile(percentile.value)) / 1000
      lines.append("  \(percentile.value) %: \(format(value)) ms")
    }
    lines.append("  slowest: \(format(Double(latencies.max) / 1000)) ms")
    return lines
  }

  /// Three digits after the point.
  static func format(_ value: Double) -> String {
    guard value.isFinite else { return "0" }
    return String((value * 1000).rounded() / 1000)
  }
}

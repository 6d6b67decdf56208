import Histogram

/// What watching measured.
struct WatchResult: Sendable {
  /// From a put's start to each of its events, in microseconds.
  var latencies = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
  var events = 0
  var missing = 0
  /// When the last event came, in nanoseconds.
  var end: UInt64 = 0

  mutating func add(_ other: WatchResult) {
    latencies.add(other.latencies)
    events += other.events
    missing += other.missing
    end = max(end, other.end)
  }
}

/// The whole report of a watching load.
struct WatchReport {
  var watchers: Int
  var createSeconds: Double
  var puts: LoadResult
  var result: WatchResult
  /// From the first put to the last event.
  var seconds: Double

  var eventRate: Double { seconds > 0 ? Double(result.events) / seconds : 0 }

  var json: String {
    let fields = [
      #""watchers":\#(watchers)"#, #""createSeconds":\#(LoadResult.format(createSeconds))"#,
      #""puts":\#(puts.succeeded)"#, #""failed":\#(puts.failures)"#,
      #""putRate":\#(LoadResult.format(puts.rate))"#, #""events":\#(result.events)"#,
      #""missing":\#(result.missing)"#, #""seconds":\#(LoadResult.format(seconds))"#,
      #""eventRate":\#(LoadResult.format(eventRate))"#,
      #""latencyMilliseconds":\#(LoadResult.json(result.latencies))"#,
      #""putLatencyMilliseconds":\#(LoadResult.json(puts.latencies))"#,
    ]
    return "{\(fields.joined(separator: ","))}"
  }

  var text: String {
    var lines = [
      "\(watchers) watches made in \(LoadResult.format(createSeconds)) s",
      "\(puts.succeeded) puts: \(LoadResult.format(puts.rate)) a second",
      "\(result.events) events in \(LoadResult.format(seconds)) s: "
        + "\(LoadResult.format(eventRate)) a second",
    ]
    if result.missing > 0 { lines.append("\(result.missing) events did not come") }
    lines.append("from put to event:")
    lines += LoadResult.lines(result.latencies)
    return lines.joined(separator: "\n")
  }
}

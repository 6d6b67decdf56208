/// What happened, as numbers: hashed whole, and the last of it kept for who has to understand a
/// failure.
package struct Trace {
  struct Event {
    var time: UInt64
    var node: Int
    /// The machine that a message goes to; nil for what is no message.
    var target: Int?
    var kind: StaticString
    var first: UInt64
    var second: UInt64
    /// Signs of life are not: they would crowd the rest out.
    var isWorthKeeping = true
  }

  /// How many events are kept.
  static let eventsMax = 80

  private var recent: [Event] = []
  private var start = 0
  package private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  package private(set) var count = 0

  mutating func note(_ event: Event) {
    mix(event.time)
    mix(UInt64(truncatingIfNeeded: event.target ?? -1))
    mix(UInt64(truncatingIfNeeded: event.node))
    mix(UInt64(event.kind.utf8CodeUnitCount))
    mix(event.first)
    mix(event.second)
    count += 1
    guard event.isWorthKeeping else { return }
    if recent.count < Self.eventsMax {
      recent.append(event)
    } else {
      recent[start] = event
      start = (start + 1) % Self.eventsMax
    }
  }

  private mutating func mix(_ number: UInt64) {
    hash = (hash ^ number) &* 0x0000_0100_0000_01b3
    hash ^= hash >> 29
  }

  /// The last events, a line each, oldest first.
  package var lines: [String] {
    (recent[start...] + recent[..<start]).map { event in
      let node = event.node < 0 ? "--" : "m\(event.node)"
      let target = event.target.map { " to m\($0)" } ?? ""
      return "\(Self.seconds(event.time)) \(node)\(target) \(event.kind) "
        + "\(event.first) \(event.second)"
    }
  }

  /// A time as seconds with three digits.
  static func seconds(_ time: UInt64) -> String {
    let milliseconds = time / 1_000_000
    let fraction = String(milliseconds % 1000)
    let zeros = String(repeating: "0", count: 3 - fraction.count)
    return "\(milliseconds / 1000).\(zeros)\(fraction)"
  }
}

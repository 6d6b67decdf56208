/// Calls by what their clients say of their version: `client-api-version`, which etcd's clients send.
struct ClientVersions {
  /// The most versions told apart; what comes later is counted as `other`.
  static let versionsMax = 16
  /// A longer text is no version.
  static let versionBytesMax = 32

  /// The place of clients that say nothing, or nothing sensible.
  static let unknown: UInt8 = 0
  private static let other: UInt8 = 1

  private var names: ContiguousArray<[UInt8]> = [Array("unknown".utf8), Array("other".utf8)]
  private var unaryCalls: ContiguousArray<UInt64> = [0, 0]
  private var streamCalls: ContiguousArray<UInt64> = [0, 0]

  /// The place of a version, which gets one when it is new.
  mutating func place(of version: UnsafeRawBufferPointer) -> UInt8 {
    for place in names.indices where names[place].withUnsafeBytes({ $0.isEqual(to: version) }) {
      return UInt8(place)
    }
    guard version.count <= Self.versionBytesMax, version.allSatisfy(Self.isSensible) else {
      return Self.unknown
    }
    guard names.count < Self.versionsMax else { return Self.other }
    names.append(Array(version))
    unaryCalls.append(0)
    streamCalls.append(0)
    return UInt8(names.count - 1)
  }

  private static func isSensible(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "-"),
      UInt8(ascii: "+"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  @inline(__always)
  mutating func count(_ place: UInt8, isStream: Bool) {
    if isStream { streamCalls[Int(place)] &+= 1 } else { unaryCalls[Int(place)] &+= 1 }
  }

  /// Those that have made calls.
  var counters: [ClientCounters] {
    names.indices.compactMap { place in
      guard unaryCalls[place] + streamCalls[place] > 0 else { return nil }
      return ClientCounters(
        version: String(decoding: names[place], as: UTF8.self),
        unaryCalls: unaryCalls[place],
        streamCalls: streamCalls[place]
      )
    }
  }
}

/// The calls of the clients of one version.
package struct ClientCounters: Sendable {
  /// As the clients say; `unknown` when they do not.
  package let version: String
  package var unaryCalls: UInt64
  package var streamCalls: UInt64
}

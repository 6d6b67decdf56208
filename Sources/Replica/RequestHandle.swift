/// Where the answer to a request goes: the event loop that holds the call, and the call on it.
///
/// The handle travels through the log as the `ID` of the entry's `InternalRaftRequest`, so the
/// member that applies the entry finds the waiting call without a table of pending requests.
/// It means something only to the process that made it: see `ReplicaConfiguration.epoch`.
package struct RequestHandle: Hashable, Sendable {
  package let rawValue: UInt64

  /// How many bits of the raw value name the call on its loop.
  package static let callBits: UInt64 = 44
  /// How many event loops handles can tell apart.
  package static let loopsMax = 1 << 16

  /// A request that nobody waits for.
  package static let none = RequestHandle(rawValue: .max)

  package init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// - Parameters:
  ///   - loop: the event loop's number, below `loopsMax`.
  ///   - call: the call's number on that loop, below 2^44.
  package init(loop: Int, call: UInt64) {
    precondition(loop >= 0 && loop < Self.loopsMax && call < 1 << Self.callBits)
    rawValue = UInt64(loop) << Self.callBits | call
  }

  package var loop: Int { Int(rawValue >> Self.callBits) }

  package var call: UInt64 { rawValue & (1 << Self.callBits - 1) }
}

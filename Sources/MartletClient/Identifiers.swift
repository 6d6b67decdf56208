/// A lease, to which keys may be bound. Printed in hexadecimal, as etcd's tools do.
public struct LeaseID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: Int64

  public init(rawValue: Int64) {
    self.rawValue = rawValue
  }

  /// No lease.
  public static let none = LeaseID(rawValue: 0)

  public static func < (left: LeaseID, right: LeaseID) -> Bool { left.rawValue < right.rawValue }

  public var description: String { String(UInt64(bitPattern: rawValue), radix: 16) }
}

/// A member of the cluster. Printed in hexadecimal, as etcd's tools do.
public struct MemberID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// No member.
  public static let none = MemberID(rawValue: 0)

  public static func < (left: MemberID, right: MemberID) -> Bool { left.rawValue < right.rawValue }

  public var description: String { String(rawValue, radix: 16) }
}

/// A position in the replicated log. The first entry has index 1; 0 means "before the first".
@frozen
public struct LogIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: UInt64

  @inlinable
  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public static let zero = LogIndex(0)

  @inlinable
  public static func < (left: LogIndex, right: LogIndex) -> Bool {
    left.rawValue < right.rawValue
  }

  /// The index `count` entries later.
  @inlinable
  public static func + (left: LogIndex, count: UInt64) -> LogIndex {
    LogIndex(left.rawValue + count)
  }

  /// The index `count` entries earlier. Traps below zero.
  @inlinable
  public static func - (left: LogIndex, count: UInt64) -> LogIndex {
    LogIndex(left.rawValue - count)
  }

  /// How many entries lie between two indexes. Traps when `right` is the later one.
  @inlinable
  public static func - (left: LogIndex, right: LogIndex) -> UInt64 {
    left.rawValue - right.rawValue
  }

  public var description: String { String(rawValue) }
}

/// A Raft election term. Terms only grow; 0 means "none yet".
@frozen
public struct Term: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: UInt64

  @inlinable
  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public static let zero = Term(0)

  @inlinable
  public static func < (left: Term, right: Term) -> Bool {
    left.rawValue < right.rawValue
  }

  /// The term that a new election starts.
  @inlinable
  public var next: Term { Term(rawValue + 1) }

  public var description: String { String(rawValue) }
}

/// A member of a cluster. 0 means "no member". Printed as hex without padding, as etcd does.
@frozen
public struct MemberID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: UInt64

  @inlinable
  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public static let none = MemberID(0)

  @inlinable
  public static func < (left: MemberID, right: MemberID) -> Bool {
    left.rawValue < right.rawValue
  }

  public var description: String { String(rawValue, radix: 16) }
}

/// A cluster. Printed as hex without padding, as etcd does.
@frozen
public struct ClusterID: Hashable, Sendable, CustomStringConvertible {
  public var rawValue: UInt64

  @inlinable
  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public var description: String { String(rawValue, radix: 16) }
}

/// A revision of the whole key-value store. An empty store is at 1; each request that
/// writes makes the next one.
@frozen
public struct Revision: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: Int64

  @inlinable
  public init(_ rawValue: Int64) {
    self.rawValue = rawValue
  }

  @inlinable
  public static func < (left: Revision, right: Revision) -> Bool {
    left.rawValue < right.rawValue
  }

  /// The revision that the next write makes.
  @inlinable
  public var next: Revision { Revision(rawValue + 1) }

  public var description: String { String(rawValue) }
}

/// One change within a revision: `main` is the store's revision, `sub` counts the changes that
/// share it, from 0, in the order of the operations of their transaction.
@frozen
public struct ChangeRevision: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var main: Int64
  public var sub: Int64

  @inlinable
  public init(main: Int64, sub: Int64) {
    self.main = main
    self.sub = sub
  }

  @inlinable
  public static func < (left: ChangeRevision, right: ChangeRevision) -> Bool {
    left.main != right.main ? left.main < right.main : left.sub < right.sub
  }

  public var description: String { "\(main)_\(sub)" }
}

/// A lease. 0 means "no lease". Printed as hex without padding, as etcd does.
@frozen
public struct LeaseID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var rawValue: Int64

  @inlinable
  public init(_ rawValue: Int64) {
    self.rawValue = rawValue
  }

  public static let none = LeaseID(0)

  @inlinable
  public static func < (left: LeaseID, right: LeaseID) -> Bool {
    left.rawValue < right.rawValue
  }

  public var description: String { String(UInt64(bitPattern: rawValue), radix: 16) }
}

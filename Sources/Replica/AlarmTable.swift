package import Base
package import Proto

/// The alarms that are raised, by member and type. What is raised stays so until it is disarmed,
/// over restarts too.
package struct AlarmTable: Sendable, Equatable {
  /// One alarm of one member.
  package struct Alarm: Hashable, Sendable {
    package var memberID: MemberID
    package var type: Etcdserverpb.AlarmType

    package init(_ memberID: MemberID, _ type: Etcdserverpb.AlarmType) {
      self.memberID = memberID
      self.type = type
    }
  }

  /// In order of type, then member.
  package private(set) var alarms: [Alarm] = []

  /// More alarms than this are not taken: requests may name members that do not exist.
  package static let alarmsMax = 1000
  /// Where the store keeps the table.
  package static let metadataKey = "replica.alarms"

  package init() {}

  /// Whether a member has no space left, so that nothing may be added anywhere.
  package var hasNoSpace: Bool { alarms.contains { $0.type == .nospace } }

  /// Whether a member's data contradicts the others', so that nothing may be changed.
  package var hasCorruption: Bool { alarms.contains { $0.type == .corrupt } }

  package func contains(_ alarm: Alarm) -> Bool { alarms.contains(alarm) }

  /// The alarms of a type; all of them for `none`.
  package func list(_ type: Etcdserverpb.AlarmType) -> [Alarm] {
    type == .none ? alarms : alarms.filter { $0.type == type }
  }

  /// Raises an alarm, if it is not raised yet. Returns false when there are too many.
  package mutating func raise(_ alarm: Alarm) -> Bool {
    if alarms.contains(alarm) { return true }
    guard alarms.count < Self.alarmsMax else { return false }
    let place = alarms.firstIndex { Self.precedes(alarm, $0) } ?? alarms.count
    alarms.insert(alarm, at: place)
    return true
  }

  /// Takes an alarm back. Returns whether it was raised.
  package mutating func disarm(_ alarm: Alarm) -> Bool {
    guard let place = alarms.firstIndex(of: alarm) else { return false }
    alarms.remove(at: place)
    return true
  }

  private static func precedes(_ left: Alarm, _ right: Alarm) -> Bool {
    left.type.rawValue == right.type.rawValue
      ? left.memberID.rawValue < right.memberID.rawValue
      : left.type.rawValue < right.type.rawValue
  }
}

extension AlarmTable {
  /// The table as an `AlarmResponse` without a header.
  package func encoded() -> [UInt8] {
    Etcdserverpb.AlarmResponse(alarms: alarms.map(\.message)).encoded()
  }

  /// Reads what `encoded` wrote.
  package init(decoding bytes: [UInt8]) throws(DecodeError) {
    for message in try Etcdserverpb.AlarmResponse(decoding: bytes).alarms {
      _ = raise(Alarm(MemberID(message.memberID), message.alarm))
    }
  }
}

extension AlarmTable.Alarm {
  package var message: Etcdserverpb.AlarmMember {
    Etcdserverpb.AlarmMember(memberID: memberID.rawValue, alarm: type)
  }

  /// The alarm as etcd prints it in `Status`.
  package var text: String { "memberID:\(memberID.rawValue) alarm:\(type) " }
}

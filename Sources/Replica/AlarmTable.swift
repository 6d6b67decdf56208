/// The alarms that are raised, by member.
package struct AlarmTable: Sendable, Equatable {
  package init() {}
}

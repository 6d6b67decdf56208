package import Auth
package import Lease
package import Membership

/// The replicated state beside the key-value store. Like the store it is changed by the log alone,
/// and its durable form is written in the store's transactions.
package struct ReplicatedTables {
  package var members: MemberTable
  package var leases: LeaseRegistry
  package var auth: AuthState
  package var alarms: AlarmTable
  package var downgrade: DowngradeJob?

  package init(
    members: MemberTable,
    leases: LeaseRegistry = LeaseRegistry(),
    auth: AuthState = AuthState(),
    alarms: AlarmTable = AlarmTable(),
    downgrade: DowngradeJob? = nil
  ) {
    self.members = members
    self.leases = leases
    self.auth = auth
    self.alarms = alarms
    self.downgrade = downgrade
  }
}

package import Auth
package import Lease
package import Membership
package import Storage

/// The replicated state beside the key-value store. Like the store it is changed by the log alone,
/// and its durable form is written in the store's transactions.
package struct ReplicatedTables {
  package var members: MemberTable
  package var leases: LeaseRegistry
  package var auth: AuthState
  package var alarms: AlarmTable
  package var downgrade: DowngradeJob?
  /// See `StateHash`.
  package var hash: UInt32 = 0

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

  /// What `base` holds beside members and leases, as of its applied index. Throws `StorageError`, or
  /// what a record that does not decode makes its type throw.
  package init(
    reading base: any RevisionStorage,
    members: MemberTable,
    leases: LeaseRegistry
  ) throws {
    self.init(members: members, leases: leases)
    if let bytes = try base.metadata(StoredMetadata.authKey) {
      auth = try AuthState(decoding: bytes)
    }
    if let bytes = try base.metadata(AlarmTable.metadataKey) {
      alarms = try AlarmTable(decoding: bytes)
    }
    if let bytes = try base.metadata(DowngradeJob.metadataKey) {
      downgrade = try DowngradeJob.decode(bytes)
    }
    if let bytes = try base.metadata(StateHash.metadataKey) {
      hash = StateHash.decode(bytes)
    }
  }
}

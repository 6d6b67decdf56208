import Auth
import Base
import Lease
import MVCC
import Membership
import Replica
import Storage

/// What a store of Martlet holds beside the keys.
struct StoreSummary {
  /// None in a file that no member has used yet.
  let metadata: StoredMetadata?
  let state: StoredState
  let auth: AuthState
  let alarms: AlarmTable
  let leaseCount: Int

  /// Throws `MigrationError.file` for what does not read back, or `StorageError`.
  init(reading base: LMDBStorage, path: String) throws {
    func flaw(_ what: String) -> MigrationError {
      .file(path: path, reason: "damaged: the record of \(what) does not read back")
    }
    do {
      metadata = try StoredMetadata { try base.metadata($0) }
    } catch let error as StorageError {
      throw error
    } catch {
      throw flaw("the membership")
    }
    if let bytes = try base.metadata(StoredState.key) {
      guard let decoded = StoredState(decoding: bytes) else { throw flaw("the revisions") }
      state = decoded
    } else {
      state = StoredState()
    }
    let tables: ReplicatedTables
    do {
      tables = try ReplicatedTables(
        reading: base,
        members: metadata?.members ?? MemberTable(clusterID: ClusterID(0)),
        leases: LeaseRegistry()
      )
    } catch let error as StorageError {
      throw error
    } catch {
      throw flaw("users, roles or alarms")
    }
    auth = tables.auth
    alarms = tables.alarms
    var count = 0
    try base.forEachMetadata(prefix: LeaseRegistry.keyPrefix) { _, _ in count += 1 }
    leaseCount = count
  }
}

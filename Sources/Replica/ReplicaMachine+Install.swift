import Auth
import Base
import Lease
import MVCC
package import Raft
import Storage

// A snapshot from the leader takes the place of everything.
extension ReplicaMachine {
  /// The leader sent a snapshot, whose file was received and read: `message` is what it said of it.
  /// Returns false when Raft has no use for it; the file is the caller's to remove then. Otherwise
  /// the next turn installs it.
  package func receive(
    _ snapshot: ReceivedSnapshot,
    by message: consuming Raft.Message
  ) throws(RaftError) -> Bool {
    guard message.kind == .snapshot,
      message.snapshot == snapshot.mark.snapshotMetadata
    else { throw .malformed }
    try raft.step(message)
    guard raft.awaitedSnapshot == snapshot.mark.snapshotMetadata else { return false }
    received = snapshot
    return true
  }

  /// Returns whether it succeeded. The store goes first: should the process end before the log knows
  /// of it, the next start finds the store ahead of the log, and the note in it that explains why.
  func install(_ metadata: SnapshotMetadata, into output: inout ReplicaOutput) -> Bool {
    guard let snapshot = received, snapshot.mark.snapshotMetadata == metadata else {
      preconditionFailure("Raft installs a snapshot that it was not given: \(metadata)")
    }
    received = nil
    if let events = store.takeEvents() { output.events.append(events) }
    do throws(StorageError) {
      try store.install(snapshot.content, from: snapshot.path) {
        leases.adopt(snapshot.tables.leases)
        takeOver(snapshot.tables)
        authChanged(auth)
      }
    } catch {
      isBroken = true
      output.failure = error
      return false
    }
    applied = snapshot.mark
    applying = applied.index
    confState = applied.confState
    // What was committed before is in the snapshot.
    pending.removeAll()
    pendingStart = 0
    pendingBytes = 0
    forgetUnsealed()
    hasNewCompaction = true
    raft.snapshotInstalled(at: applied.index)
    catchUp.removeAll()
    retention.reset(to: applied)
    hashes.removeAll()
    noteHash(of: applied.index)
    // Entries were applied elsewhere: what became of the proposals under way nobody here knows.
    loseTrackOfProposals()
    output.installed = applied
    output.release = applied
    return true
  }

  private func takeOver(_ tables: ReplicatedTables) {
    members = tables.members
    access = AccessChecker(tables.auth)
    authVersion += 1
    alarms = tables.alarms
    downgrade = tables.downgrade
    tablesHash = tables.hash
  }

  /// The store's file has all of the present state.
  private func forgetUnsealed() {
    flushedMark = nil
    sealedIndex = applied.index
    unsealedLogBytes = 0
    sealedAuthVersion = authVersion
    sealedAlarmsVersion = alarmsVersion
    sealedDowngradeVersion = downgradeVersion
    sealedTablesHash = tablesHash
  }
}

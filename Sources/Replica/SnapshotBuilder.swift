package import Base
import Lease
import MVCC
import Membership
package import Raft
package import Storage

/// Makes a store of the records that a leader sends, and beside it what this member has in memory of
/// them, record by record as they come: when the last one is there, little is left to do before the
/// store can be installed. One thread at a time.
package final class SnapshotBuilder {
  private let base: any RevisionStorage
  private let path: String
  private let announced: SnapshotMetadata
  private let clusterID: ClusterID
  private let storage: TieredStorage
  private let leases = LeaseRegistry()
  private var metadata: MetadataChanges = []
  private var metadataBytes = 0
  /// Once all metadata is there.
  private var head: Head?

  private struct Head {
    let mark: LogMark
    let tables: ReplicatedTables
    let content: StoreContent.Builder
  }

  /// How much one transaction writes.
  private static let batchBytesMax = 4 << 20

  /// The records go into `base`, which is empty and open on the file at `path`. They must be a store of
  /// the cluster `clusterID` at the entry that `announced` names.
  package init(
    into base: any RevisionStorage,
    at path: String,
    announced: SnapshotMetadata,
    clusterID: ClusterID
  ) {
    self.base = base
    self.path = path
    self.announced = announced
    self.clusterID = clusterID
    storage = TieredStorage(over: base)
  }

  /// Takes the next record: metadata comes before revisions, and keys ascend.
  package func take(_ record: StoreRecord) throws(ReceivedSnapshot.Flaw) {
    switch record {
    case .metadata(let key, let value):
      guard head == nil else { throw .disordered }
      metadata.append((key, [UInt8](value)))
      metadataBytes += key.utf8.count + value.count
      if metadataBytes >= Self.batchBytesMax { try writeMetadata() }
    case .revision(let revision, let value):
      let head = try readHead()
      do throws(StorageError) {
        try head.content.add(revision, isTombstone: value.tombstone, value.bytes)
        storage.append(revision, tombstone: value.tombstone, bytes: value.bytes)
        if storage.activeBytes >= Self.batchBytesMax { try writeRevisions() }
      } catch {
        throw .storage(error)
      }
    }
  }

  /// All records were taken. Notes in the store that it is going to be installed; `base` is the
  /// caller's to close and to sync.
  package func finish() throws(ReceivedSnapshot.Flaw) -> ReceivedSnapshot {
    let head = try readHead()
    do throws(StorageError) {
      try writeRevisions()
      try base.commit(
        RevisionBatch(metadata: [(StoredMetadata.installKey, head.mark.encoded())])
      )
    } catch {
      throw .storage(error)
    }
    return ReceivedSnapshot(
      at: path,
      mark: head.mark,
      content: head.content.content,
      tables: head.tables
    )
  }

  private func writeMetadata() throws(ReceivedSnapshot.Flaw) {
    do throws(StorageError) {
      try base.commit(RevisionBatch(metadata: metadata))
    } catch {
      throw .storage(error)
    }
    metadata = []
    metadataBytes = 0
  }

  private func writeRevisions() throws(StorageError) {
    guard let job = storage.seal(metadata: []) else { return }
    try job.run()
    storage.finish(job)
  }

  /// All metadata has come: what is not what was announced is refused here, before most of it came.
  private func readHead() throws(ReceivedSnapshot.Flaw) -> Head {
    if let head { return head }
    try writeMetadata()
    guard let stored = try stored() else { throw .noMark }
    let mark = try checked(stored)
    let content: StoreContent.Builder
    do throws(StorageError) {
      try leases.restore(from: storage)
      content = try StoreContent.Builder(reading: base, leases: leases)
    } catch {
      throw .storage(error)
    }
    let tables: ReplicatedTables
    do {
      tables = try ReplicatedTables(reading: base, members: stored.members, leases: leases)
    } catch {
      throw .unreadable("\(error)")
    }
    let head = Head(mark: mark, tables: tables, content: content)
    self.head = head
    return head
  }

  private func checked(_ stored: StoredMetadata) throws(ReceivedSnapshot.Flaw) -> LogMark {
    guard stored.members.clusterID == clusterID else {
      throw .otherCluster(stored.members.clusterID)
    }
    let mark = stored.applied
    guard mark.index == announced.index, mark.term == announced.term else {
      throw .otherMark(index: mark.index, term: mark.term)
    }
    guard mark.confState == announced.confState else { throw .otherMembership }
    return mark
  }

  private func stored() throws(ReceivedSnapshot.Flaw) -> StoredMetadata? {
    do {
      return try StoredMetadata { try base.metadata($0) }
    } catch let error as StorageError {
      throw .storage(error)
    } catch {
      throw .unreadable("\(error)")
    }
  }
}

extension SnapshotBuilder {
  /// Takes everything that another store has, and finishes.
  package func copy(
    of source: any RevisionStorage
  ) throws(ReceivedSnapshot.Flaw) -> ReceivedSnapshot {
    var flaw: ReceivedSnapshot.Flaw?
    func take(_ record: StoreRecord) -> Bool {
      guard flaw == nil else { return false }
      do throws(ReceivedSnapshot.Flaw) {
        try self.take(record)
        return true
      } catch {
        flaw = error
        return false
      }
    }
    do throws(StorageError) {
      try source.forEachMetadata(prefix: "") { key, value in
        _ = take(.metadata(key: key, value: value))
      }
      try source.scanAll { revision, isTombstone, bytes in
        take(.revision(revision, RevisionValue(bytes: bytes, tombstone: isTombstone)))
      }
    } catch {
      throw .storage(error)
    }
    if let flaw { throw flaw }
    return try finish()
  }
}

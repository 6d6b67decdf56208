package import Base
import Lease
import MVCC
import Membership
package import Raft
package import Storage

/// A snapshot of a leader's store that came in a file, read and found sound (P5): ready to take the
/// place of everything this member has.
package final class ReceivedSnapshot: Sendable {
  /// Where the file lies. Installing consumes it.
  package let path: String
  /// How far the log is applied in it, and the membership there.
  package let mark: LogMark
  let content: StoreContent
  let tables: ReplicatedTables

  /// Why a snapshot is not taken.
  package enum Flaw: Error, CustomStringConvertible {
    case storage(StorageError)
    /// It has no record of what it is.
    case noMark
    /// A record beside the key-value data does not read back.
    case unreadable(String)
    case otherCluster(ClusterID)
    case otherMark(index: LogIndex, term: Term)
    case otherMembership

    package var description: String {
      switch self {
      case .storage(let error): "\(error)"
      case .noMark: "the snapshot does not say how far it goes"
      case .unreadable(let reason): "the snapshot does not read back: \(reason)"
      case .otherCluster(let id): "the snapshot is of another cluster, \(id)"
      case .otherMark(let index, let term):
        "the snapshot is of entry \(index) of term \(term), which is not what was announced"
      case .otherMembership: "the snapshot has another membership than was announced"
      }
    }
  }

  /// Reads all of `base`, which is open on the file at `path` and holds `metadata` of the cluster
  /// `clusterID`, and notes in it that it is going to be installed. Any thread; takes long. The
  /// caller closes `base` then.
  package init(
    reading base: any RevisionStorage,
    at path: String,
    announced metadata: SnapshotMetadata,
    clusterID: ClusterID
  ) throws(Flaw) {
    self.path = path
    mark = try Self.checkedMark(base, metadata, clusterID)
    let leases = LeaseRegistry()
    do throws(StorageError) {
      let storage = TieredStorage(over: base)
      try leases.restore(from: storage)
      content = try StoreContent(reading: base, leases: leases)
    } catch {
      throw .storage(error)
    }
    guard let members = try Self.stored(base)?.members else { throw .noMark }
    do {
      tables = try ReplicatedTables(reading: base, members: members, leases: leases)
    } catch {
      throw .unreadable("\(error)")
    }
    do throws(StorageError) {
      try base.commit(RevisionBatch(metadata: [(StoredMetadata.installKey, mark.encoded())]))
    } catch {
      throw .storage(error)
    }
  }

  private static func checkedMark(
    _ base: any RevisionStorage,
    _ metadata: SnapshotMetadata,
    _ clusterID: ClusterID
  ) throws(Flaw) -> LogMark {
    guard let stored = try stored(base) else { throw .noMark }
    guard stored.members.clusterID == clusterID else {
      throw .otherCluster(stored.members.clusterID)
    }
    let mark = stored.applied
    guard mark.index == metadata.index, mark.term == metadata.term else {
      throw .otherMark(index: mark.index, term: mark.term)
    }
    guard mark.confState == metadata.confState else { throw .otherMembership }
    return mark
  }

  private static func stored(_ base: any RevisionStorage) throws(Flaw) -> StoredMetadata? {
    do {
      return try StoredMetadata { try base.metadata($0) }
    } catch let error as StorageError {
      throw .storage(error)
    } catch {
      throw .unreadable("\(error)")
    }
  }
}

extension LogMark {
  /// The mark as Raft speaks of it.
  package var snapshotMetadata: SnapshotMetadata {
    SnapshotMetadata(index: index, term: term, confState: confState)
  }
}

package import Base
import MVCC
package import Raft
package import Storage

/// A leader's store that came record by record and was found sound (P5): ready to take the place of
/// everything this member has. `SnapshotBuilder` makes it.
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
    /// Metadata after revisions.
    case disordered
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
      case .disordered: "the snapshot's records are out of order"
      case .noMark: "the snapshot does not say how far it goes"
      case .unreadable(let reason): "the snapshot does not read back: \(reason)"
      case .otherCluster(let id): "the snapshot is of another cluster, \(id)"
      case .otherMark(let index, let term):
        "the snapshot is of entry \(index) of term \(term), which is not what was announced"
      case .otherMembership: "the snapshot has another membership than was announced"
      }
    }
  }

  init(at path: String, mark: LogMark, content: StoreContent, tables: ReplicatedTables) {
    self.path = path
    self.mark = mark
    self.content = content
    self.tables = tables
  }
}

extension LogMark {
  /// The mark as Raft speaks of it.
  package var snapshotMetadata: SnapshotMetadata {
    SnapshotMetadata(index: index, term: term, confState: confState)
  }
}

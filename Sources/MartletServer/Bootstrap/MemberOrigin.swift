import Base
import Membership
import Replica

/// What a member starts from when it opens its data directory.
enum MemberOrigin {
  /// It has data, and whatever the bootstrap flags say is ignored, unless the store has lost its file
  /// or never got one: then what the member was founded with, when the flags still say the same.
  case data(founding: MemberTable?)
  /// It founds a cluster with the other members of the table, who make the same one.
  case founding(MemberTable, own: MemberID)
  /// It was added to a cluster that runs: its peers said the table.
  case joining(MemberTable, own: MemberID)

  var identity: (memberID: MemberID, clusterID: ClusterID)? {
    switch self {
    case .data: nil
    case .founding(let table, let own), .joining(let table, let own): (own, table.clusterID)
    }
  }

  /// What a store without metadata is told.
  var metadata: StoredMetadata? {
    switch self {
    case .data(let table): table.map { StoredMetadata(founding: $0) }
    case .founding(let table, _): StoredMetadata(founding: table)
    case .joining(let table, _): StoredMetadata(joining: table)
    }
  }
}

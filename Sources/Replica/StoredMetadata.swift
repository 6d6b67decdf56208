import Base
package import Log
package import Membership
package import Proto
import Raft
package import Storage

/// What the store keeps beside the key-value data, written in one transaction with it: how far the
/// log is applied there, and the membership at that point.
package struct StoredMetadata: Sendable {
  package var applied: LogMark
  package var members: MemberTable

  package static let appliedKey = "replica.applied"
  package static let membersKey = "replica.members"
  /// Where `AuthState.encoded()` is, once there ever was a user or role.
  package static let authKey = "replica.auth"

  /// In a snapshot that was received: its mark. While the applied index is still the same, the log may
  /// not know of the snapshot yet; see `Recovery`.
  package static let installKey = "replica.install"

  package init(applied: LogMark, members: MemberTable) {
    self.applied = applied
    self.members = members
  }

  /// The start of a new cluster: nothing applied, and the founders as voters.
  package init(founding members: MemberTable) {
    let confState = ConfState(voters: members.voters.map(\.id))
    self.init(
      applied: LogMark(index: .zero, term: .zero, confState: confState),
      members: members
    )
  }

  /// The start of a member that joins: nothing applied, and no membership until a snapshot tells it.
  /// `members` is what its peers said, so that it finds them.
  package init(joining members: MemberTable) {
    self.init(
      applied: LogMark(index: .zero, term: .zero, confState: ConfState()),
      members: members
    )
  }

  /// The key-value pairs to store: a `raftpb.SnapshotMetadata` and the member table.
  package func encoded() -> MetadataChanges {
    [
      (Self.appliedKey, applied.encoded()),
      (Self.membersKey, members.encoded()),
    ]
  }

  /// Reads what `encoded` wrote. Returns nil when nothing was ever stored.
  package init?(_ value: (_ key: String) throws -> [UInt8]?) throws {
    guard let applied = try value(Self.appliedKey), let members = try value(Self.membersKey) else {
      return nil
    }
    self.applied = try LogMark(decoding: applied)
    self.members = try MemberTable(decoding: members)
  }
}

extension LogMark {
  /// The mark as a `raftpb.SnapshotMetadata`.
  package func encoded() -> [UInt8] {
    var message = Raftpb.SnapshotMetadata()
    message.index = index.rawValue
    message.term = term.rawValue
    message.confState = Raftpb.ConfState(confState)
    return message.encoded()
  }

  package init(decoding bytes: [UInt8]) throws(DecodeError) {
    let message = try Raftpb.SnapshotMetadata(decoding: bytes)
    index = LogIndex(message.index)
    term = Term(message.term)
    confState = ConfState(message.confState ?? Raftpb.ConfState())
  }

  /// The mark as the log records it.
  package var snapshotMark: SnapshotMark {
    SnapshotMark(
      index: index,
      term: term,
      confState: SharedBytes(Raftpb.ConfState(confState).encoded())
    )
  }
}

/// Why a message was refused. The node is as if the message had not come, except that a higher
/// term in it may have been taken over.
package enum RaftError: Error, Hashable {
  /// The message is for another member, or from nobody, or from this member itself.
  case misdirected
  /// A number is above `Message.numberMax`.
  case outOfRange
  /// Entries have gaps, falling terms, or terms above the message's; or a field is missing.
  case malformed
  /// Two members claim to lead the same term.
  case secondLeader
  /// The message contradicts entries that are committed here.
  case conflictsWithCommitted
  /// The message speaks of entries as matching or committed that this log does not have.
  case beyondLog
}

/// Why a proposal was refused. It was not added to any log.
package enum ProposeError: Error, Hashable {
  /// There is no leader now, or this member is no part of the cluster.
  case noLeader
  /// Too many uncommitted bytes wait already. Try again when some are committed.
  case dropped
  /// The leader is handing over, or was removed. Try again when there is a new one.
  case transferring
  /// An earlier change of the membership is not applied yet.
  case configurationPending
  /// The change cannot be made from the present membership.
  case configurationInvalid
}

/// Why a read index was refused.
package enum ReadIndexError: Error, Hashable {
  /// There is no leader now.
  case noLeader
  /// `readRequestsMax` requests wait already.
  case tooMany
}

/// Why a configuration cannot be used.
package enum RaftConfigurationError: Error, Hashable {
  /// `id` is `.none`.
  case noID
  /// `heartbeatTimeoutTicks` is below 1 or above `ticksMax`.
  case heartbeatTimeout
  /// `electionTimeoutTicks` is not above `heartbeatTimeoutTicks`, or is above `ticksMax`.
  case electionTimeout
  /// The named limit is below 1.
  case limit(String)
}

/// Why a node cannot start from the state it was given.
package enum RestoreError: Error, Hashable {
  case configuration(RaftConfigurationError)
  /// The membership lists somebody twice, is not in order, or is joint in part only.
  case membership
  /// The entries have gaps or falling terms, or terms above the hard state's.
  case entries
  /// The committed index is after the last entry.
  case commit
  /// The applied index is before the first entry or after the last.
  case applied
}

package import Base

/// How a node behaves. Limits are per node unless they say otherwise.
package struct RaftConfiguration: Sendable, Hashable {
  /// The member that the node is.
  package var id: MemberID

  /// A follower that has heard nothing for this long campaigns; the real wait is drawn anew each
  /// time from [this, twice this). Also the period of a leader's check that a quorum is alive.
  package var electionTimeoutTicks = 10

  /// A leader sends heartbeats this often.
  package var heartbeatTimeoutTicks = 1

  /// Ask before campaigning, so that a member that was cut off does not disturb when it is back.
  package var preVote = true

  /// A leader that no quorum answers steps down; members that hear a leader ignore candidates.
  package var checkQuorum = true

  /// How many messages with entries may be under way to one peer.
  package var inflightMessagesMax = 256

  /// How many bytes of entries may be under way to one peer.
  package var inflightBytesMax = 64 << 20

  /// Bytes of entries in one message; one entry always fits.
  package var messageBytesMax = 1 << 20

  /// Bytes of entries that a leader holds uncommitted before it refuses proposals. One entry is
  /// always accepted when none waits.
  package var uncommittedBytesMax = 256 << 20

  /// Bytes of committed entries in one `Ready`; one entry always fits.
  package var committedBytesMax = 64 << 20

  /// How many read requests may wait.
  package var readRequestsMax = 1 << 20

  package init(id: MemberID) {
    self.id = id
  }

  /// The longest timeout that can be set.
  package static let ticksMax = 1 << 30

  /// Throws unless every value can be used.
  package func check() throws(RaftConfigurationError) {
    if id == .none { throw .noID }
    if heartbeatTimeoutTicks < 1 || heartbeatTimeoutTicks > Self.ticksMax {
      throw .heartbeatTimeout
    }
    if electionTimeoutTicks <= heartbeatTimeoutTicks || electionTimeoutTicks > Self.ticksMax {
      throw .electionTimeout
    }
    if inflightMessagesMax < 1 { throw .limit("inflightMessagesMax") }
    if inflightBytesMax < 1 { throw .limit("inflightBytesMax") }
    if messageBytesMax < 1 { throw .limit("messageBytesMax") }
    if uncommittedBytesMax < 1 { throw .limit("uncommittedBytesMax") }
    if committedBytesMax < 1 { throw .limit("committedBytesMax") }
    if readRequestsMax < 1 { throw .limit("readRequestsMax") }
  }
}

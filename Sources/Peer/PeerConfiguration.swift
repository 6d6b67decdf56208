package import Base
package import Membership
package import NIOCore

/// Another member, and where it listens for its peers.
package struct PeerAddress: Sendable, Hashable {
  package var id: MemberID
  /// In the order in which they are tried; must not be empty for a member that is to be reached.
  package var urls: [ServerURL]

  package init(id: MemberID, urls: [ServerURL]) {
    self.id = id
    self.urls = urls
  }
}

/// Who a member is to its peers, and the bounds and times of what they say to each other.
package struct PeerConfiguration: Sendable {
  package var clusterID: ClusterID
  package var memberID: MemberID
  /// The version of this build, for the others' logs and answers.
  package var serverVersion: String

  /// What waits for one peer beyond this is dropped: bytes of entries, and messages.
  package var queuedBytesMax = 64 << 20
  package var queuedMessagesMax = 4096
  /// A batch is closed when it has this many bytes; one message always fits.
  package var batchBytesMax = 2 << 20
  /// The longest message that is taken from a peer: an entry of the largest request, and more.
  package var messageBytesMax = 64 << 20
  /// What came from peers and waits for the replica beyond this is dropped.
  package var receivedBytesMax = 128 << 20
  /// The most parts of a snapshot that may be under way unanswered, and the size of one.
  package var snapshotChunksMax = 4
  package var snapshotChunkBytes = 1 << 20
  /// How long a peer may leave the parts of a snapshot unanswered.
  package var snapshotSilenceMax = TimeAmount.seconds(60)

  /// The first wait after a lost or refused connection; it doubles up to the longest, and each is
  /// drawn from the upper half of that.
  package var reconnectDelayMin = TimeAmount.milliseconds(50)
  package var reconnectDelayMax = TimeAmount.seconds(2)
  package var connectTimeout = TimeAmount.seconds(3)
  /// How long a connection is silent before it is pinged, and how long the answer may take.
  package var keepaliveInterval = TimeAmount.seconds(2)
  /// Of connections that this member made, and of those that were made to it.
  package var keepaliveTimeout = TimeAmount.seconds(5)
  package var listeningKeepaliveTimeout = TimeAmount.seconds(5)
  /// Several processes may listen on the peer port (SO_REUSEPORT).
  package var reusesPort = false

  package init(clusterID: ClusterID, memberID: MemberID, serverVersion: String) {
    self.clusterID = clusterID
    self.memberID = memberID
    self.serverVersion = serverVersion
  }

  /// The version of what members say to each other; only equal ones talk.
  package static let protocolVersion: UInt64 = 1
}
